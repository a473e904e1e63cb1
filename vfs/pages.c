/*
** Which pages were written, so that a difference reads only those.
**
** A difference leads from a state that a replica has, that of some ticket, to the newest one. Reading every page of
** a large database for it takes minutes, in which the log can't be started again; and where it outgrows its bound
** meanwhile, the next difference follows. So the tap keeps a set with the number of every page that is written: at most a
** bit for each page, in chunks of 4 KiB that exist where a page of theirs was written.
**
** THE SET COVERS WHAT DIFFERS
**
** What seawal_tap_written() says for a ticket contains every page that differs between the state after that ticket and any state that
** was pinned before the call:
**
**   - A page changes by a transaction of this process, or of another one. Of this process, walWrite() and mainWrite() mark it
**     before the lower VFS gets it, and so before the commit gets its ticket, which comes before it can be in a
**     pinned state. A transaction that is rolled back leaves marks behind: they are pages too many.
**   - What another process did gets a ticket when it is found, with the mark "all": before a state that has it can be pinned
**     (seawal_tap_place() compares the wal-index, or the change counter). The same holds for whatever else is known by its outcome only,
**     and for another page size.
**   - A page that was cut off, and is there again, may be one that nobody wrote: in rollback journal modes SQLite leaves such
**     pages out. So all pages behind the smallest size since count as written.
**
** Pages are forgotten once no replica needs them. There are two sets: the newest one, and one of the commits before iBegin of the
** newest. When every replica has those, the older one is dropped and the newest becomes the older one. That
** happens only while no transaction is open, so that the marks of a transaction and its ticket belong to one set. Nothing
** is taken out of a set otherwise: a difference that fails has changed nothing, and the next one reads its pages again.
**
** What a set doesn't reach back to is answered with "all": what the replica lacked when the database was opened, for one.
*/
#include <stdlib.h>
#include <string.h>

#include "tap.h"

static SeawalPages *newest(SeawalTap *pTap){ return &pTap->aPages[(2*pTap->iTurn)%3]; }
static SeawalPages *older(SeawalTap *pTap){ return &pTap->aPages[(2*pTap->iTurn+1)%3]; }
static SeawalPages *spare(SeawalTap *pTap){ return &pTap->aPages[(2*pTap->iTurn+2)%3]; }

/* Any page may be written, or was. */
void seawalMarkAllLocked(SeawalTap *pTap){ newest(pTap)->isAll = 1; }

/* Makes the chunk of a page. Returns 0 when memory is out. */
static u64 *newChunk(SeawalPages *p, u32 iChunk){
  if( iChunk>=p->nChunk ){
    u32 n = iChunk+1>2*p->nChunk ? iChunk+1 : 2*p->nChunk;
    u64 **ap = realloc(p->apChunk, n*sizeof(*ap));
    if( ap==0 ) return 0;
    memset(&ap[p->nChunk], 0, (n-p->nChunk)*sizeof(*ap));
    p->apChunk = ap;
    p->nChunk = n;
  }
  if( p->apChunk[iChunk]==0 ) p->apChunk[iChunk] = calloc(SEAWAL_PAGE_WORDS, sizeof(u64));
  return p->apChunk[iChunk];
}

/* A page is about to be written by the transaction that is open. */
void seawalMarkLocked(SeawalTap *pTap, u32 iPage){
  SeawalPages *p = newest(pTap);
  u32 iChunk = iPage/PAGES_IN_CHUNK;
  u64 *aChunk = iChunk<p->nChunk ? p->apChunk[iChunk] : 0;
  if( aChunk==0 && (aChunk = newChunk(p, iChunk))==0 ){
    p->isAll = 1;
    return;
  }
  aChunk[iPage%PAGES_IN_CHUNK/64] |= (u64)1<<(iPage%64);
}

/* A write to the WAL is about to be made: the page number is what a frame begins with. SQLite writes a frame as two pieces, and may
** split either of them; what can't be told apart counts as any page. */
void seawalNoteFrame(SeawalTail *p, const u8 *a, int nByte, i64 iOfst){
  SeawalTap *pTap = p->pTap;
  i64 szSlot = slotSize(pTap);
  i64 iIn = iOfst>=WAL_HDRSIZE ? (iOfst-WAL_HDRSIZE)%szSlot : 0;
  if( p->pMain && !p->pMain->isWriter ) seawalNoteUnlocked(p->pMain);
  if( iOfst==0 && nByte==WAL_HDRSIZE ) return;
  if( pTap->szPage && iIn>=WAL_FRAME_HDRSIZE && iIn+nByte<=szSlot && nByte!=WAL_FRAME_HDRSIZE ) return;   /* of a page */
  pthread_mutex_lock(&pTap->mutex);
  if( pTap->szPage && iOfst>=WAL_HDRSIZE && iIn==0 && nByte>=4 && nByte<=szSlot ) seawalMarkLocked(pTap, get4(a));
  else seawalMarkAllLocked(pTap);
  pthread_mutex_unlock(&pTap->mutex);
}

/* A write to the main file is about to be made by a connection that has no WAL open. */
void seawalNotePage(SeawalTap *pTap, int nByte, i64 iOfst){
  pthread_mutex_lock(&pTap->mutex);
  if( iOfst%nByte==0 && (pTap->szPage==0 || (u32)nByte==pTap->szPage) ) seawalMarkLocked(pTap, (u32)(iOfst/nByte)+1);
  else seawalMarkAllLocked(pTap);
  pthread_mutex_unlock(&pTap->mutex);
}

/* A commit leaves the database with so many pages. */
void seawalNoteSizeLocked(SeawalTap *pTap, u32 nPage){
  if( nPage<newest(pTap)->nLeast ) newest(pTap)->nLeast = nPage;
}

/* The pages have this size. */
void seawalSetPageSizeLocked(SeawalTap *pTap, u32 szPage){
  if( pTap->szPage!=szPage && pTap->szPage!=0 ) seawalMarkAllLocked(pTap);
  pTap->szPage = szPage;
}

static void emptyPages(SeawalPages *p, u64 iBegin){
  memset(p, 0, sizeof(*p));
  p->nLeast = 0xffffffff;
  p->iBegin = iBegin;
}

static void freeChunks(SeawalPages *p){
  u32 i;
  for(i=0; i<p->nChunk; i++) free(p->apChunk[i]);
  free(p->apChunk);
}

/* No transaction is open: the sets change places, if that is due. */
void seawalTurnLocked(SeawalTap *pTap){
  if( !pTap->isTurn ) return;
  pTap->isTurn = 0;
  pTap->iTurn++;
  pTap->isSpareUsed = 1;   /* the one that was the older one: freed where no writer waits for it */
  newest(pTap)->iBegin = pTap->iTicket;
}

void seawalFreePages(SeawalTap *pTap){
  int i;
  for(i=0; i<3; i++){
    freeChunks(&pTap->aPages[i]);
    emptyPages(&pTap->aPages[i], 0);
  }
}

void seawal_tap_forget(SeawalTap *pTap, u64 iTicket){
  SeawalPages dropped;
  memset(&dropped, 0, sizeof(dropped));
  pthread_mutex_lock(&pTap->mutex);
  if( pTap->isSpareUsed ){
    dropped = *spare(pTap);
    emptyPages(spare(pTap), 0);
    pTap->isSpareUsed = 0;
  }
  if( iTicket>=newest(pTap)->iBegin && pTap->iTicket>newest(pTap)->iBegin ){
    pTap->isTurn = 1;
    if( pTap->pWriter==0 && pTap->pUnlocked==0 && pTap->nJournal==0 ) seawalTurnLocked(pTap);
  }
  pthread_mutex_unlock(&pTap->mutex);
  freeChunks(&dropped);
}

int seawal_tap_written(SeawalTap *pTap, u64 iSince, u32 *piChunk, u64 *aOut, u32 *pnLeast, u64 *piTurn){
  SeawalPages *ap[2];
  int eFound = SEAWAL_PAGES_END;
  u32 i, k;
  int j;
  pthread_mutex_lock(&pTap->mutex);
  ap[0] = newest(pTap);
  ap[1] = iSince<ap[0]->iBegin ? older(pTap) : ap[0];
  *piTurn = pTap->iTurn;
  *pnLeast = ap[0]->nLeast<ap[1]->nLeast ? ap[0]->nLeast : ap[1]->nLeast;
  if( iSince<ap[1]->iBegin || ap[0]->isAll || ap[1]->isAll ) eFound = SEAWAL_PAGES_ALL;
  for(i=*piChunk; eFound==SEAWAL_PAGES_END && (i<ap[0]->nChunk || i<ap[1]->nChunk); i++){
    memset(aOut, 0, SEAWAL_PAGE_WORDS*sizeof(u64));
    for(j=0; j<2; j++){
      const u64 *aChunk = i<ap[j]->nChunk ? ap[j]->apChunk[i] : 0;
      if( aChunk==0 ) continue;
      eFound = SEAWAL_PAGES_CHUNK;
      *piChunk = i;
      for(k=0; k<SEAWAL_PAGE_WORDS; k++) aOut[k] |= aChunk[k];
    }
  }
  pthread_mutex_unlock(&pTap->mutex);
  return eFound;
}
