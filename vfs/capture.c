/*
** What a connection writes becomes commits in the ring and the queue of its tap.
**
** Every function here runs on SQLite's own thread, called by the file methods of shim.c, whose head is the
** manual. ...Locked: the caller holds SeawalTap.mutex.
*/
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "killpoint.h"
#include "tap.h"

/******************************* Helpers *************************************/

static i64 clockSkew = 0;   /* atomic; for tests, as if the clock had been set */

void seawal_clock_skew(int64_t nSkew){ __atomic_store_n(&clockSkew, nSkew, __ATOMIC_RELAXED); }

/* The time of a commit. It may go back: the consumer sees to it that the replica's times don't. */
static i64 now(void){
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (i64)t.tv_sec*1000000000 + t.tv_nsec + __atomic_load_n(&clockSkew, __ATOMIC_RELAXED);
}

/* Reads the header. Returns 0 while it is invalid: nobody has recovered it yet,
** or one is being written. */
int seawalReadIndexHdr(const volatile u8 *aShm, IndexHdr *pHdr){
  u64 aCopy[SHM_HDRSIZE*2/8];
  const u8 *a = (const u8*)aCopy;
  unsigned short sz;
  size_t i;
  if( aShm==0 ) return 0;
  /* SQLite writes the second copy first: equal ones, read in this order, are whole. */
  for(i=0; i<SHM_HDRSIZE/8; i++) aCopy[i] = ((const volatile u64*)aShm)[i];
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  for(; i<SHM_HDRSIZE*2/8; i++) aCopy[i] = ((const volatile u64*)aShm)[i];
  if( a[SHM_ISINIT]==0 || memcmp(a, &a[SHM_HDRSIZE], SHM_HDRSIZE)!=0 ) return 0;
  memcpy(&sz, &a[SHM_SZPAGE], 2);
  pHdr->szPage = (sz & 0xfe00) + ((u32)(sz & 1)<<16);
  memcpy(&pHdr->mxFrame, &a[SHM_MXFRAME], 4);
  memcpy(&pHdr->nPage, &a[SHM_NPAGE], 4);
  pHdr->aSalt[0] = get4(&a[SHM_SALT]);
  pHdr->aSalt[1] = get4(&a[SHM_SALT+4]);
  return 1;
}

/* How many frames of the log are in the file. */
u32 seawalReadBackfill(const volatile u8 *aShm){
  return __atomic_load_n((const volatile u32*)&aShm[SHM_BACKFILL], __ATOMIC_ACQUIRE);
}

/* The change counter in the header of the database file, which every commit in a rollback
** journal mode moves; 0 of an empty file. Returns 0 when it can't be read. */
int seawalReadCounter(sqlite3_file *pFile, u32 *piCounter){
  u8 a[4];
  int rc = ORIGFILE(pFile)->xRead(pFile, a, sizeof(a), DB_COUNTER);
  if( rc!=SQLITE_OK && rc!=SQLITE_IOERR_SHORT_READ ) return 0;
  *piCounter = get4(a);
  return 1;
}

/* Says whether the file at zPath is another one than was opened first, or none. A VFS below that keeps its files
** elsewhere has none there to begin with. */
int seawalIsMovedLocked(SeawalTap *pTap){
  struct stat st;
  if( pTap->isMoved || !pTap->isFile ) return pTap->isMoved;
  if( stat(pTap->zPath, &st)!=0 ){
    pTap->isMoved = errno==ENOENT;
  }else{
    pTap->isMoved = (u64)st.st_dev!=pTap->iDev || (u64)st.st_ino!=pTap->iInode;
  }
  if( pTap->isMoved ) seawalSignalGo(pTap, SEAWAL_WAKE_MOVED);
  return pTap->isMoved;
}

/* stat() of the file that has the database's name with zSuffix behind it. */
int seawalStatCompanion(const SeawalTap *pTap, const char *zSuffix, struct stat *pOut){
  char *z = sqlite3_mprintf("%s%s", pTap->zPath, zSuffix);
  int rc = z ? stat(z, pOut) : -1;
  sqlite3_free(z);
  return rc;
}

/* A main file was opened. Returns 1 when it may be another one than the first. */
int seawalNoteOpened(SeawalTap *pTap){
  struct stat st;
  int isMoved;
  pthread_mutex_lock(&pTap->mutex);
  if( !pTap->isFile && stat(pTap->zPath, &st)==0 ){
    pTap->isFile = 1;
    pTap->iDev = (u64)st.st_dev;
    pTap->iInode = (u64)st.st_ino;
  }
  isMoved = seawalIsMovedLocked(pTap);
  pthread_mutex_unlock(&pTap->mutex);
  return isMoved;
}

/* The log (nWal is 1) or the wal-index (0) was opened: remembers which file that is. */
void seawalNoteCompanion(SeawalTap *pTap, const char *zSuffix, SeawalPlaceOf *pOf, int nWal){
  struct stat st;
  int isThere = seawalStatCompanion(pTap, zSuffix, &st)==0;
  int isUsed;
  pthread_mutex_lock(&pTap->mutex);
  isUsed = pOf==&pTap->wal ? pTap->nWal>0 : pTap->pMapped!=0;
  if( isUsed && isThere && pOf->iInode && ((u64)st.st_ino!=pOf->iInode || (u64)st.st_dev!=pOf->iDev) ){
    /* Others of our connections have another file, which is at no path any more. */
    pTap->mSplit |= pOf==&pTap->wal ? SEAWAL_WAL_GONE : SEAWAL_SHM_GONE;
  }
  pTap->nWal += nWal;
  pOf->iDev = isThere ? (u64)st.st_dev : 0;
  pOf->iInode = isThere ? (u64)st.st_ino : 0;
  pthread_mutex_unlock(&pTap->mutex);
}

/* The file has the wal-index mapped, or (0) is about to let go of it. */
void seawalNoteMapped(SeawalTail *p, const volatile u8 *aShm){
  SeawalTap *pTap = p->pTap;
  SeawalTail **pp;
  pthread_mutex_lock(&pTap->mutex);
  if( p->aShm==0 && aShm ){
    p->pNextMapped = pTap->pMapped;
    pTap->pMapped = p;
  }else if( p->aShm && aShm==0 ){
    for(pp=&pTap->pMapped; *pp!=p; pp=&(*pp)->pNextMapped){}
    *pp = p->pNextMapped;
  }
  p->aShm = aShm;
  pthread_mutex_unlock(&pTap->mutex);
}

/* A transaction in a rollback journal mode begins, or is over. */
void seawalNoteJournalLocked(SeawalTail *p, int isJournal){
  p->pTap->nJournal += isJournal - p->isJournal;
  p->isJournal = isJournal;
}

/* The connection locks as others do: it is EXCLUSIVE no more, or is about to be gone. */
void seawalNoteLocked(SeawalTail *p){
  if( !p->isUnlocked ) return;
  p->isUnlocked = 0;
  pthread_mutex_lock(&p->pTap->mutex);
  if( p->pTap->pUnlocked==p ) p->pTap->pUnlocked = 0;
  pthread_mutex_unlock(&p->pTap->mutex);
}

/* The connection has the file to itself (locking_mode=EXCLUSIVE) and writes the log without WAL_WRITE_LOCK. From here on nobody may
** compare the wal-index with what was published: of a log that begins it tells nothing before the first commit, and would make
** a log of somebody else of it. */
void seawalNoteUnlocked(SeawalTail *p){
  if( p->isUnlocked ) return;
  p->isUnlocked = 1;
  pthread_mutex_lock(&p->pTap->mutex);
  p->pTap->pUnlocked = p;
  pthread_mutex_unlock(&p->pTap->mutex);
}

/* Tells Go that there is something to do. The descriptor does not block; a full pipe
** means that it has been told already. */
void seawalSignalGo(SeawalTap *pTap, char c){
  ssize_t n;
  do{ n = write(pTap->fdWake, &c, 1); }while( n<0 && errno==EINTR );
}

/* Wakes the consumer. */
static void wakeLocked(SeawalTap *pTap){
  pTap->isIdle = 0;
  seawalSignalGo(pTap, SEAWAL_WAKE);
}

/************************** The ring and the queue ***************************/

/* Gives back what the open transaction has copied. */
void seawalDropTxnLocked(SeawalTap *pTap){
  pTap->iHead = pTap->iTxn;
  pTap->nTxn = 0;
  pTap->mxTxn = pTap->mxFrame;
  pTap->iTxnCommit = 0;
  pTap->isTxnRange = 0;
}

/* The open transaction is not copied any further: it is to be read back. */
static void stopCopyLocked(SeawalTap *pTap){
  pTap->iHead = pTap->iTxn;
  pTap->nTxn = 0;
  pTap->isTxnRange = 1;
}

/* Room for one frame in the ring; 0 when there is none. A frame never
** straddles the end of the ring: the rest there is skipped. */
static u8 *ringSlotLocked(SeawalTap *pTap, u32 szSlot){
  u64 iHead = pTap->iHead;
  u64 iOff = iHead % pTap->szRing;
  if( iOff && pTap->iQTail==pTap->iQHead && pTap->nTxn==0 ){
    /* All is released: its beginning is in the processor's caches, and in memory. */
    iHead += pTap->szRing - iOff;
    iOff = 0;
    pTap->iTail = pTap->iTxn = pTap->iHead = iHead;
  }
  if( iOff+szSlot > pTap->szRing ) iHead += pTap->szRing - iOff;
  if( iHead+szSlot-pTap->iTail > pTap->szRing ) return 0;
  if( iHead+szSlot-pTap->iTxn > pTap->szRing/4 ) return 0;
  pTap->iHead = iHead+szSlot;
  return &pTap->aRing[iHead % pTap->szRing];
}

/* Where the copied bytes of the open transaction lie. */
static void txnPieces(const SeawalTap *pTap, u32 szSlot, SeawalCommit *p){
  u64 iOff = pTap->iTxn % pTap->szRing;
  u64 nFirst = (pTap->szRing - iOff)/szSlot;   /* frames before the end of the ring */
  if( nFirst>pTap->nTxn ) nFirst = pTap->nTxn;
  p->aPiece[0] = &pTap->aRing[iOff];
  p->anPiece[0] = nFirst*szSlot;
  p->aPiece[1] = pTap->aRing;
  p->anPiece[1] = (pTap->nTxn-nFirst)*szSlot;
}

/* Every range that is not released has lost its log. */
static void rangesToGapsLocked(SeawalTap *pTap){
  u64 i;
  for(i=pTap->iQTail; pTap->nRange>0 && i<pTap->iQHead; i++){
    SeawalCommit *p = &pTap->aQueue[i % QUEUE_MAX];
    if( p->eKind==SEAWAL_RANGE ){
      p->eKind = SEAWAL_GAP;
      pTap->nRange--;
      pTap->stats.nGap++;
      SEAWAL_POINT("shim/range-lost");
    }
  }
}

/* Says whether another commit with frames of its own fits into the queue. Two
** places stay free for the range and the gap that everything else merges into. */
static int isQueueFullLocked(const SeawalTap *pTap){
  return pTap->iQHead-pTap->iQTail >= QUEUE_MAX-4;
}

/* Says whether a commit is close enough in time to the range at the end of the queue. */
static int isNearLocked(const SeawalTap *pTap, const SeawalCommit *pLast, i64 iTime){
  i64 nAge = iTime - pTap->aQueue[pTap->iQTail % QUEUE_MAX].iTime;
  return iTime-pLast->iTimeFirst <= SEAWAL_MERGE_SPAN+nAge/SEAWAL_MERGE_PART || isQueueFullLocked(pTap);
}

/* Puts a commit into the queue. *p has its kind, place and size; ticket and time are given here. The
** queue always has room: one that is nearly full merges what comes into its last
** range or gap. */
static void enqueueLocked(SeawalTap *pTap, SeawalCommit *p){
  SeawalCommit *pLast = 0;
  if( pTap->isMoved ){
    p->eKind = SEAWAL_GAP;   /* and the consumer will find no state to compare with */
    seawalMarkAllLocked(pTap);
  }
  p->iTicket = ++pTap->iTicket;
  p->nCommit = 1;
  p->iTime = p->iTimeFirst = pTap->iTime = now();
  p->iEnd = pTap->iHead;
  pTap->stats.nCommit++;
  if( p->eKind==SEAWAL_RANGE ) pTap->stats.nRange++;
  if( p->eKind==SEAWAL_GAP ) pTap->stats.nGap++;
  if( pTap->iQHead>pTap->iQNext ) pLast = &pTap->aQueue[(pTap->iQHead-1) % QUEUE_MAX];
  if( pTap->iQHead-pTap->iQTail>=QUEUE_MAX-1 && p->eKind!=pLast->eKind ){
    /* The last place: whatever ranges and gaps come now are one gap. */
    if( p->eKind==SEAWAL_RANGE ) p->eKind = SEAWAL_GAP;
    if( pLast->eKind==SEAWAL_RANGE ){ pLast->eKind = SEAWAL_GAP; pTap->nRange--; }
  }
  if( pLast && p->eKind!=SEAWAL_FRAMES && pLast->eKind==p->eKind
   && (p->eKind==SEAWAL_GAP
       || (isSameSalt(pLast->aSalt, p->aSalt) && pLast->iLast==p->iFirst && isNearLocked(pTap, pLast, p->iTime))) ){
    pLast->iLast = p->iLast;
    memcpy(pLast->aSalt, p->aSalt, sizeof(p->aSalt));
    pLast->nPage = p->nPage;
    pLast->szPage = p->szPage;
    pLast->iTicket = p->iTicket;
    pLast->nCommit++;
    pLast->iTime = p->iTime;
  }else{
    pTap->aQueue[pTap->iQHead++ % QUEUE_MAX] = *p;
    if( p->eKind==SEAWAL_RANGE ) pTap->nRange++;
  }
  if( pTap->isIdle ){
    wakeLocked(pTap);
  }else if( !pTap->isFull && pTap->iHead-pTap->iTail > pTap->szRing/4 ){
    pTap->isFull = 1;
    wakeLocked(pTap);
  }
}

static void publishGapLocked(SeawalTap *pTap){
  SeawalCommit c;
  memset(&c, 0, sizeof(c));
  c.eKind = SEAWAL_GAP;
  c.szPage = pTap->szPage;
  c.nPage = pTap->nPage;
  seawalMarkAllLocked(pTap);
  enqueueLocked(pTap, &c);
}

/* Publishes the frames (pTap->mxFrame, mxFrame] of the WAL as one commit and
** moves the place. */
static void publishWalLocked(SeawalTap *pTap, u32 mxFrame, u32 nPage, int isForeign){
  SeawalCommit c;
  int hadRoom;
  memset(&c, 0, sizeof(c));
  c.szPage = pTap->szPage;
  c.nPage = nPage;
  memcpy(c.aSalt, pTap->aSalt, sizeof(c.aSalt));
  c.iFirst = pTap->mxFrame;
  c.iLast = mxFrame;
  if( isForeign || pTap->isTxnRange || pTap->nTxn!=mxFrame-pTap->mxFrame
   || isQueueFullLocked(pTap) ){
    c.eKind = SEAWAL_RANGE;
    pTap->iHead = pTap->iTxn;
  }else{
    c.eKind = SEAWAL_FRAMES;
    txnPieces(pTap, slotSize(pTap), &c);
    pTap->stats.nFrame += pTap->nTxn;
  }
  if( isForeign ){
    pTap->isForeign = 1;
    seawalMarkAllLocked(pTap);
  }
  seawalNoteSizeLocked(pTap, nPage);
  hadRoom = hasRoomLocked(pTap);
  pTap->mxFrame = mxFrame;
  pTap->nPage = nPage;
  enqueueLocked(pTap, &c);
  pTap->iTxn = pTap->iHead;
  seawalDropTxnLocked(pTap);
  if( pTap->mxAsk && mxFrame>=pTap->mxAsk ){
    pTap->mxAsk = 0;
    seawalSignalGo(pTap, SEAWAL_WAKE_CHECKPOINT);
  }
  if( hadRoom && !hasRoomLocked(pTap) && !pTap->isBlock && pTap->nAsk>0 ){
    pTap->isOutgrown = 1;
    seawalSignalGo(pTap, SEAWAL_WAKE_CHECKPOINT);
  }
  if( pTap->nPin>0 && !pTap->isBlock && (u64)mxFrame*slotSize(pTap)>=pTap->mxPinned ){
    pTap->mxPinned += pTap->mxWal/16;   /* it is told again: a full pipe takes no byte */
    pTap->isOutgrown = pTap->nAsk>0;
    seawalSignalGo(pTap, SEAWAL_WAKE_OUTGROWN);
  }
}

/* The log begins again with new salts. */
static void newGenerationLocked(SeawalTap *pTap, const u32 *aSalt, u32 mxFrame){
  rangesToGapsLocked(pTap);
  memcpy(pTap->aSalt, aSalt, sizeof(pTap->aSalt));
  pTap->isCounter = 0;
  pTap->mxFrame = mxFrame;
  pTap->isBegun = mxFrame==0;
  pTap->iBegun = pTap->iTicket;
  pTap->mxCkpt = 0;
  pTap->isOutgrown = 0;
  if( pTap->mxAsk>askLocked(pTap) ) pTap->mxAsk = askLocked(pTap);
  seawalDropTxnLocked(pTap);
}

/* Compares the wal-index with what was published, with WAL_WRITE_LOCK held:
** whatever differs, another process did. */
void seawalSyncPlaceLocked(SeawalTap *pTap, const IndexHdr *pHdr){
  int isOther = pTap->szPage!=0 && pHdr->szPage!=0 && pTap->szPage!=pHdr->szPage;
  if( pHdr->szPage ) seawalSetPageSizeLocked(pTap, pHdr->szPage);
  if( !pTap->isKnown && !pTap->isCounter ){
    newGenerationLocked(pTap, pHdr->aSalt, pHdr->mxFrame);
    pTap->nPage = pHdr->nPage;
    pTap->isKnown = 1;
  }else if( isSameSalt(pTap->aSalt, pHdr->aSalt) && !isOther && pHdr->mxFrame>=pTap->mxFrame ){
    if( pHdr->mxFrame>pTap->mxFrame ){
      /* Whoever opened another file under this name shares our log all the same. */
      (void)seawalIsMovedLocked(pTap);
      pTap->stats.nForeign++;
      publishWalLocked(pTap, pHdr->mxFrame, pHdr->nPage, 1);
    }
  }else{
    /* From a rollback journal mode into a new WAL is none of this: that has no salts yet. */
    newGenerationLocked(pTap, pHdr->aSalt, pHdr->mxFrame);
    pTap->isBegun = 0;   /* what the gap stands for lies before the log, in it, or both */
    pTap->nPage = pHdr->nPage;
    pTap->isKnown = 1;
    pTap->stats.nForeign++;
    publishGapLocked(pTap);
  }
  seawalDropTxnLocked(pTap);
}

/* The same in rollback journal modes, by the change counter. */
void seawalSyncCounterLocked(SeawalTap *pTap, int isRead, u32 iCounter){
  if( pTap->isCounter && isRead && iCounter==pTap->iCounter ) return;
  pTap->isCounter = isRead;
  pTap->iCounter = iCounter;
  pTap->stats.nForeign++;
  publishGapLocked(pTap);
}

/************************** Capture in WAL mode ******************************/

/* A frame reached the file whole and in sequence: copy it. */
static void captureFrameLocked(SeawalTap *pTap, u32 iFrame, const u8 *aFrame){
  u8 *aSlot;
  if( pTap->isTxnRange ) return;
  if( iFrame!=pTap->mxFrame+pTap->nTxn+1 || (aSlot = ringSlotLocked(pTap, slotSize(pTap)))==0 ){
    stopCopyLocked(pTap);
    SEAWAL_POINT("shim/copy-stopped");
    return;
  }
  memcpy(aSlot, aFrame, slotSize(pTap));
  pTap->nTxn++;
}

/* Writes out what the connection holds back and copies it into the ring. What could not be written
** stays held: SQLite was told that it is in the file, and a failure that comes out of
** a read (SQLITE_FULL) may undo a statement only, and commit those frames later. */
int seawalFlushHold(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  int nHold = p->nHold;
  int rc;
  int i;
  if( nHold==0 ) return SQLITE_OK;
  rc = ORIGFILE(pFile)->xWrite(pFile, pTap->aHold, nHold, p->iHold);
  SEAWAL_POINT("shim/frames-written");
  pthread_mutex_lock(&pTap->mutex);
  if( rc==SQLITE_OK ){
    int szSlot = (int)slotSize(pTap);
    u32 iFrame = (u32)((p->iHold-WAL_HDRSIZE)/szSlot) + 1;
    p->nHold = 0;
    p->isHoldCommit = 0;
    for(i=0; i+szSlot<=nHold; i+=szSlot, iFrame++){
      captureFrameLocked(pTap, iFrame, &pTap->aHold[i]);
    }
    if( i<nHold ) stopCopyLocked(pTap);  /* a header whose page did not follow */
  }else{
    stopCopyLocked(pTap);
  }
  pthread_mutex_unlock(&pTap->mutex);
  return rc;
}

/* The WAL file got a new header. */
void seawalNoteWalHeader(SeawalTap *pTap, const u8 *a){
  u32 aSalt[2];
  aSalt[0] = get4(&a[16]);
  aSalt[1] = get4(&a[20]);
  pthread_mutex_lock(&pTap->mutex);
  seawalSetPageSizeLocked(pTap, get4(&a[8]));
  if( !isSameSalt(aSalt, pTap->aSalt) || pTap->mxFrame!=0 ) newGenerationLocked(pTap, aSalt, 0);
  pTap->isKnown = 1;
  pthread_mutex_unlock(&pTap->mutex);
}

/* The header of a frame and its page reached the file, in aHold, without WAL_WRITE_LOCK. */
static void captureUnlockedLocked(SeawalTap *pTap, int szPage, i64 iStart){
  u32 aSalt[2];
  u32 iFrame;
  if( pTap->szPage==0 ) pTap->szPage = (u32)szPage;   /* it began with a log that nobody had looked at */
  iFrame = (u32)((iStart-WAL_HDRSIZE)/slotSize(pTap)) + 1;
  if( iStart<WAL_HDRSIZE || iStart!=frameOffset(pTap, iFrame) || (u32)szPage!=pTap->szPage ){
    stopCopyLocked(pTap);
    return;
  }
  aSalt[0] = get4(&pTap->aHold[8]);
  aSalt[1] = get4(&pTap->aHold[12]);
  if( aSalt[0]==0 && aSalt[1]==0 ){
    /* Frames before it were overwritten: salts and checksums are written at the end. */
    stopCopyLocked(pTap);
  }else if( !pTap->isKnown && !pTap->isCounter ){
    newGenerationLocked(pTap, aSalt, iFrame-1);
    pTap->isKnown = 1;
  }else if( !isSameSalt(aSalt, pTap->aSalt) ){
    /* Another process had the log before the file was locked. */
    newGenerationLocked(pTap, aSalt, iFrame-1);
    pTap->isBegun = 0;
    pTap->stats.nForeign++;
    publishGapLocked(pTap);
  }
  /* Back at the start: what was written of it was rolled back. */
  if( iFrame==pTap->mxFrame+1 && (aSalt[0] || aSalt[1]) ) seawalDropTxnLocked(pTap);
  captureFrameLocked(pTap, iFrame, pTap->aHold);
  if( iFrame>pTap->mxTxn ) pTap->mxTxn = iFrame;
}

/* A write of a connection with locking_mode=EXCLUSIVE reached the file. Its header and its page come as two. */
static void noteUnlockedWrite(SeawalTail *p, const u8 *a, int nByte, i64 iOfst){
  SeawalTap *pTap = p->pTap;
  int isPage = p->isHeader && iOfst==p->iHold+WAL_FRAME_HDRSIZE && nByte>=512;
  pthread_mutex_lock(&pTap->mutex);
  if( isPage && nByte+WAL_FRAME_HDRSIZE<=HOLD_MAX ){
    memcpy(&pTap->aHold[WAL_FRAME_HDRSIZE], a, (size_t)nByte);
    captureUnlockedLocked(pTap, nByte, p->iHold);
  }else if( p->isHeader || nByte!=WAL_FRAME_HDRSIZE ){
    stopCopyLocked(pTap);
  }
  if( isPage ) a = pTap->aHold;
  if( isPage || (nByte==WAL_FRAME_HDRSIZE && pTap->szPage) ){
    u32 nPage = get4(&a[4]);
    i64 iStart = isPage ? p->iHold : iOfst;
    if( nPage ){
      pTap->iTxnCommit = (u32)((iStart-WAL_HDRSIZE)/slotSize(pTap)) + 1;
      pTap->nTxnPage = nPage;
    }
  }
  p->isHeader = nByte==WAL_FRAME_HDRSIZE;
  if( p->isHeader ){
    p->iHold = iOfst;
    memcpy(pTap->aHold, a, WAL_FRAME_HDRSIZE);
  }
  pthread_mutex_unlock(&pTap->mutex);
  p->pMain->nUnlocked++;
}

/* A write that is not held back reached the file. */
void seawalNoteDirectWrite(SeawalTail *p, const u8 *a, int nByte, i64 iOfst){
  SeawalTap *pTap = p->pTap;
  if( p->pMain && !p->pMain->isWriter ){
    noteUnlockedWrite(p, a, nByte, iOfst);
    return;
  }
  pthread_mutex_lock(&pTap->mutex);
  stopCopyLocked(pTap);
  if( pTap->szPage && iOfst>=WAL_HDRSIZE ){
    u32 szSlot = slotSize(pTap);
    u32 iFrame = (u32)((iOfst-WAL_HDRSIZE)/szSlot) + 1;
    if( iFrame>pTap->mxTxn ) pTap->mxTxn = iFrame;
    if( iOfst==frameOffset(pTap, iFrame) && nByte>=WAL_FRAME_HDRSIZE && get4(&a[4])!=0 ){
      pTap->iTxnCommit = iFrame;
    }
  }
  pthread_mutex_unlock(&pTap->mutex);
}

/* A commit fails although its commit frame is in the file. */
void seawalNoCommit(SeawalTap *pTap){
  pthread_mutex_lock(&pTap->mutex);
  pTap->iTxnCommit = 0;
  pthread_mutex_unlock(&pTap->mutex);
}

/* WAL_WRITE_LOCK was taken. */
void seawalBeginWrite(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  IndexHdr hdr;
  u32 iCounter = 0;
  int isAsked;
  int isRead = 0;
  p->isWriter = 1;
  if( p->pWal ) TAIL(p->pWal)->isHeader = 0;
  p->isUnsure = !seawalReadIndexHdr(p->aShm, &hdr);
  seawalNoteLocked(p);
  pthread_mutex_lock(&pTap->mutex);
  pTap->pWriter = p;
  isAsked = pTap->isCounter;
  pthread_mutex_unlock(&pTap->mutex);
  if( isAsked ) isRead = seawalReadCounter(pFile, &iCounter);
  pthread_mutex_lock(&pTap->mutex);
  if( p->isUnsure ){
    seawalDropTxnLocked(pTap);   /* the index is about to be recovered */
  }else{
    seawalSyncPlaceLocked(pTap, &hdr);
    /* The first transaction in a new WAL: whoever switched to it may have written before that. */
    if( isAsked && pTap->isCounter ) seawalSyncCounterLocked(pTap, isRead, iCounter);
  }
  pthread_mutex_unlock(&pTap->mutex);
}

/* WAL_WRITE_LOCK is about to be released: publish what was committed, drop what was not. */
void seawalEndWrite(SeawalTail *p){
  SeawalTap *pTap = p->pTap;
  SeawalTail *pWal = p->pWal ? TAIL(p->pWal) : 0;
  IndexHdr hdr;
  int isLate = 0;
  if( !seawalReadIndexHdr(p->aShm, &hdr) ){
    if( pWal ) pWal->nHold = 0;
    pthread_mutex_lock(&pTap->mutex);
    pTap->pWriter = 0;
    seawalDropTxnLocked(pTap);
    seawalTurnLocked(pTap);
    pthread_mutex_unlock(&pTap->mutex);
    return;
  }
  if( pWal && pWal->nHold>0 ){
    /* Held bytes end with the commit frame, so here they can only be of a rollback. */
    if( !p->isUnsure && isSameSalt(hdr.aSalt, pTap->aSalt) && hdr.mxFrame>pTap->mxFrame ){
      isLate = 1;
      (void)seawalFlushHold(p->pWal);
    }
    pWal->nHold = 0;
  }
  pthread_mutex_lock(&pTap->mutex);
  pTap->stats.nLate += isLate;
  pTap->pWriter = 0;
  if( p->isUnsure ){
    seawalSyncPlaceLocked(pTap, &hdr);
  }else{
    if( !isSameSalt(hdr.aSalt, pTap->aSalt) ) newGenerationLocked(pTap, hdr.aSalt, 0);
    if( hdr.szPage ) seawalSetPageSizeLocked(pTap, hdr.szPage);
    if( hdr.mxFrame>pTap->mxFrame ){
      SEAWAL_POINT("shim/commit-unpublished");
      publishWalLocked(pTap, hdr.mxFrame, hdr.nPage, 0);
      p->iTicket = pTap->iTicket;
      SEAWAL_POINT("shim/commit-published");
    }else{
      seawalDropTxnLocked(pTap);
    }
  }
  seawalTurnLocked(pTap);
  pthread_mutex_unlock(&pTap->mutex);
}

/* COMMIT_PHASETWO of a connection that wrote its WAL without WAL_WRITE_LOCK:
** locking_mode=EXCLUSIVE. */
void seawalCommitUnlocked(SeawalTail *p){
  SeawalTap *pTap = p->pTap;
  u32 nAsk;
  p->nUnlocked = 0;
  pthread_mutex_lock(&pTap->mutex);
  if( TAIL(p->pWal)->isHeader ) stopCopyLocked(pTap);   /* the last write was a checksum */
  TAIL(p->pWal)->isHeader = 0;
  if( pTap->iTxnCommit>pTap->mxFrame ){
    SEAWAL_POINT("shim/exclusive-unpublished");
    publishWalLocked(pTap, pTap->iTxnCommit, pTap->nTxnPage, 0);
    p->iTicket = pTap->iTicket;
  }else{
    seawalDropTxnLocked(pTap);
  }
  seawalTurnLocked(pTap);
  nAsk = pTap->nAsk;
  pthread_mutex_unlock(&pTap->mutex);
  if( nAsk && p->isAutoOff && !p->isAutoLent && connOf(p) ){
    p->isAutoLent = 1;
    sqlite3_wal_autocheckpoint(connOf(p), (int)nAsk);
  }
}

/*********************** Capture in rollback journal modes *******************/

/* The first page of a transaction is about to be written to the main file by a connection that
** has no WAL open: look for what another process did. */
void seawalBeginJournal(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  u32 iCounter = 0;
  int isRead = seawalReadCounter(pFile, &iCounter);
  SEAWAL_POINT("shim/journal-before-pages");
  pthread_mutex_lock(&pTap->mutex);
  seawalNoteJournalLocked(p, 1);
  seawalDropTxnLocked(pTap);
  if( !p->isLeaving && (pTap->isKnown || pTap->isCounter) ) seawalSyncCounterLocked(pTap, isRead, iCounter);
  pthread_mutex_unlock(&pTap->mutex);
}

/* A page was written to the main file by a connection that has no WAL open. */
void seawalCapturePage(SeawalTail *p, const u8 *a, int nByte, i64 iOfst){
  SeawalTap *pTap = p->pTap;
  u8 *aSlot;
  SEAWAL_POINT("shim/journal-page-written");
  pthread_mutex_lock(&pTap->mutex);
  if( pTap->nTxn==0 && !pTap->isTxnRange && (u32)nByte!=pTap->szPage ){
    seawalSetPageSizeLocked(pTap, (u32)nByte);
  }
  if( !pTap->isTxnRange ){
    if( (u32)nByte!=pTap->szPage || iOfst%nByte!=0
     || (aSlot = ringSlotLocked(pTap, slotSize(pTap)))==0 ){
      stopCopyLocked(pTap);
    }else{
      memset(aSlot, 0, WAL_FRAME_HDRSIZE);
      put4(aSlot, (u32)(iOfst/nByte)+1);
      memcpy(&aSlot[WAL_FRAME_HDRSIZE], a, (size_t)nByte);
      pTap->nTxn++;
    }
  }
  pthread_mutex_unlock(&pTap->mutex);
}

/* Publishes the pages that were written to the main file as one commit, or, if isGap, that it has changed.
** Returns its ticket. */
static u64 publishJournal(sqlite3_file *pFile, int isGap){
  SeawalTap *pTap = TAIL(pFile)->pTap;
  SeawalCommit c;
  static const u32 aZero[2] = {0, 0};
  u32 iCounter = 0;
  u64 iTicket;
  i64 nByte = 0;
  int isCounter = seawalReadCounter(pFile, &iCounter);
  int rc = ORIGFILE(pFile)->xFileSize(pFile, &nByte);
  SEAWAL_POINT("shim/journal-unpublished");
  memset(&c, 0, sizeof(c));
  pthread_mutex_lock(&pTap->mutex);
  seawalNoteJournalLocked(TAIL(pFile), 0);
  c.szPage = pTap->szPage;
  c.nPage = pTap->szPage ? (u32)(nByte/pTap->szPage) : 0;
  if( isGap || pTap->isTxnRange || rc!=SQLITE_OK || isQueueFullLocked(pTap) ){
    c.eKind = SEAWAL_GAP;
    pTap->iHead = pTap->iTxn;
  }else{
    c.eKind = SEAWAL_FRAMES;
    txnPieces(pTap, slotSize(pTap), &c);
    pTap->stats.nFrame += pTap->nTxn;
  }
  if( isGap || rc!=SQLITE_OK ) seawalMarkAllLocked(pTap);
  seawalNoteSizeLocked(pTap, c.nPage);
  rangesToGapsLocked(pTap);
  memcpy(pTap->aSalt, aZero, sizeof(aZero));
  pTap->mxFrame = 0;
  pTap->nPage = c.nPage;
  pTap->isKnown = 1;
  pTap->isCounter = isCounter;
  pTap->iCounter = iCounter;
  enqueueLocked(pTap, &c);
  iTicket = pTap->iTicket;
  pTap->iTxn = pTap->iHead;
  seawalDropTxnLocked(pTap);
  if( pTap->nJournal==0 ) seawalTurnLocked(pTap);
  pthread_mutex_unlock(&pTap->mutex);
  SEAWAL_POINT("shim/journal-published");
  return iTicket;
}

/* COMMIT_PHASETWO in a rollback journal mode. */
void seawalCommitJournal(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  p->isLeaving = 0;
  p->iTicket = publishJournal(pFile, 0);
}

/* Says whether there is a journal that SQLite would play back; also when that can't be told. */
static int isJournalHot(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  const char *zJournal = sqlite3_filename_journal(p->zName);
  sqlite3_file *pJournal;
  int isThere = 0;
  int isHot = 1;
  u8 c = 0;
  int rc = p->pLower->xAccess(p->pLower, zJournal, SQLITE_ACCESS_EXISTS, &isThere);
  if( rc==SQLITE_OK && !isThere ) return 0;
  pJournal = calloc(1, (size_t)p->pLower->szOsFile);
  if( rc || pJournal==0 ) goto journal_hot_done;
  rc = p->pLower->xOpen(p->pLower, zJournal, pJournal, SQLITE_OPEN_READONLY|SQLITE_OPEN_MAIN_JOURNAL, 0);
  if( rc ) goto journal_hot_done;
  rc = pJournal->pMethods->xRead(pJournal, &c, 1, 0);   /* its header is zeroed once it isn't needed */
  isHot = rc!=SQLITE_IOERR_SHORT_READ && (rc!=SQLITE_OK || c!=0);
  pJournal->pMethods->xClose(pJournal);

journal_hot_done:
  free(pJournal);
  return isHot;
}

/* Pages were written to the main file, and its lock is let go without a COMMIT_PHASETWO. */
void seawalEndJournal(sqlite3_file *pFile){
  SEAWAL_POINT("shim/journal-rolled-back");
  (void)publishJournal(pFile, isJournalHot(pFile));
}

/* The last connection is about to delete the WAL: it has the database file to itself, and
** has brought all of the log into it. The log that comes next is no other process's doing. */
void seawalNoteWalDelete(sqlite3_file *pFile){
  SeawalTap *pTap = TAIL(pFile)->pTap;
  static const u32 aZero[2] = {0, 0};
  IndexHdr hdr;
  u32 iCounter = 0;
  int isRead;
  if( !seawalReadIndexHdr(TAIL(pFile)->aShm, &hdr) ) return;
  isRead = seawalReadCounter(pFile, &iCounter);
  pthread_mutex_lock(&pTap->mutex);
  if( pTap->isKnown ){
    seawalSyncPlaceLocked(pTap, &hdr);
    newGenerationLocked(pTap, aZero, 0);
    pTap->isCounter = isRead;
    pTap->iCounter = iCounter;
  }
  pthread_mutex_unlock(&pTap->mutex);
  SEAWAL_POINT("shim/log-before-delete");
}
