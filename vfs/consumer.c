/*
** What Go calls: the life of a tap, and the consumer's side of its ring and queue. shim.h says which
** thread may call what.
*/
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tap.h"

static pthread_mutex_t tapsMutex = PTHREAD_MUTEX_INITIALIZER;  /* for this list */
static SeawalTap *allTaps = 0;
static SeawalTap *spareTaps = 0;  /* destroyed ones; see seawal_tap_destroy() */

/************************** Create, find, destroy ****************************/

/* Its waits end by a clock that nobody sets back. */
static void initCond(pthread_cond_t *pCond){
#ifdef __APPLE__
  pthread_cond_init(pCond, 0);   /* it has no other clock: see inMilliseconds() */
#else
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(pCond, &attr);
  pthread_condattr_destroy(&attr);
#endif
}

/* Gives back what a tap holds, and keeps the tap itself, empty, for the next database. Go may ask one that is gone: whoever waits for
** a commit while the database is closed looks once more when it is woken. It finds nothing, in memory that is there. */
static void spare(SeawalTap *p){
  size_t iRest = offsetof(SeawalTap, cond) + sizeof(p->cond);
  pthread_mutex_lock(&p->mutex);
  free(p->zPath); free(p->aRing); free(p->aHold); free(p->aQueue);
  seawalFreePages(p);
  memset(p, 0, offsetof(SeawalTap, mutex));
  memset((u8*)p + iRest, 0, sizeof(*p) - iRest);
  pthread_mutex_unlock(&p->mutex);
  pthread_mutex_lock(&tapsMutex);
  p->pNext = spareTaps;
  spareTaps = p;
  pthread_mutex_unlock(&tapsMutex);
}

SeawalTap *seawal_tap_create(const char *zPath, u64 szRing, u64 mxWal, int isBlock, int fdWake, u64 iHandle){
  SeawalTap *p;
  pthread_mutex_lock(&tapsMutex);
  if( (p = spareTaps)!=0 ) spareTaps = p->pNext;
  pthread_mutex_unlock(&tapsMutex);
  if( p==0 ){
    if( (p = calloc(1, sizeof(*p)))==0 ) return 0;
    pthread_mutex_init(&p->mutex, 0);
    initCond(&p->cond);
  }
  pthread_mutex_lock(&p->mutex);
  p->zPath = strdup(zPath);
  p->aRing = malloc(szRing);
  p->aHold = malloc(HOLD_MAX);
  p->aQueue = calloc(QUEUE_MAX, sizeof(SeawalCommit));
  if( p->zPath==0 || p->aRing==0 || p->aHold==0 || p->aQueue==0 ){
    pthread_mutex_unlock(&p->mutex);
    spare(p);
    return 0;
  }
  seawalFreePages(p);   /* makes them empty sets */
  p->szRing = szRing;
  p->mxWal = mxWal;
  p->isBlock = isBlock;
  p->fdWake = fdWake;
  p->iHandle = iHandle;
  pthread_mutex_unlock(&p->mutex);
  pthread_mutex_lock(&tapsMutex);
  p->pNext = allTaps;
  allTaps = p;
  pthread_mutex_unlock(&tapsMutex);
  return p;
}

int seawal_tap_destroy(SeawalTap *p){
  SeawalTap **pp;
  int nOpen;
  pthread_mutex_lock(&tapsMutex);
  pthread_mutex_lock(&p->mutex);
  nOpen = p->nOpen;
  pthread_mutex_unlock(&p->mutex);
  if( nOpen==0 ){
    for(pp=&allTaps; *pp!=p; pp=&(*pp)->pNext){}
    *pp = p->pNext;
  }
  pthread_mutex_unlock(&tapsMutex);
  if( nOpen ) return SQLITE_BUSY;
  spare(p);
  return SQLITE_OK;
}

/* Finds the tap of a main file and counts the file in. */
SeawalTap *seawalTapFor(const char *zName){
  SeawalTap *pTap;
  pthread_mutex_lock(&tapsMutex);
  for(pTap=allTaps; pTap && strcmp(pTap->zPath, zName)!=0; pTap=pTap->pNext){}
  if( pTap ){
    pthread_mutex_lock(&pTap->mutex);
    pTap->nOpen++;
    pthread_mutex_unlock(&pTap->mutex);
  }
  pthread_mutex_unlock(&tapsMutex);
  return pTap;
}

/************************ A file without a connection ************************/

struct SeawalFile {
  const char *zName;         /* from sqlite3_create_filename() */
  sqlite3_file file;         /* must be last: the VFS's object is larger */
};

static int openFile(const char *zVfs, const char *zPath, int flags, SeawalFile **ppFile){
  sqlite3_vfs *pVfs = sqlite3_vfs_find(zVfs);
  SeawalFile *p;
  int eOut = 0;
  int rc;
  if( pVfs==0 ) return SQLITE_ERROR;
  p = calloc(1, sizeof(*p)+(size_t)pVfs->szOsFile);
  if( p==0 ) return SQLITE_NOMEM;
  p->zName = sqlite3_create_filename(zPath, "", "", 0, 0);
  rc = p->zName ? pVfs->xOpen(pVfs, p->zName, &p->file, flags|SQLITE_OPEN_MAIN_DB, &eOut) : SQLITE_NOMEM;
  if( rc!=SQLITE_OK ){
    if( p->file.pMethods ) p->file.pMethods->xClose(&p->file);
    sqlite3_free_filename(p->zName);
    free(p);
    return rc;
  }
  *ppFile = p;
  return SQLITE_OK;
}

int seawal_file_open(const char *zVfs, const char *zPath, SeawalFile **ppFile){
  return openFile(zVfs, zPath, SQLITE_OPEN_READONLY, ppFile);
}

int seawal_file_claim(const char *zVfs, const char *zPath, SeawalFile **ppFile){
  SeawalFile *p;
  int rc = openFile(zVfs, zPath, SQLITE_OPEN_READWRITE, &p);
  if( rc!=SQLITE_OK ) return rc;
  rc = p->file.pMethods->xLock(&p->file, SQLITE_LOCK_SHARED);
  if( rc==SQLITE_OK ) rc = p->file.pMethods->xLock(&p->file, SQLITE_LOCK_EXCLUSIVE);
  if( rc!=SQLITE_OK ){
    seawal_file_close(p);
    return rc;
  }
  *ppFile = p;
  return SQLITE_OK;
}

int seawal_file_read(SeawalFile *p, void *pBuf, int nByte, int64_t iOfst){
  return p->file.pMethods->xRead(&p->file, pBuf, nByte, iOfst);
}

int seawal_file_size(SeawalFile *p, int64_t *pnByte){
  i64 nByte = 0;
  int rc = p->file.pMethods->xFileSize(&p->file, &nByte);
  *pnByte = nByte;
  return rc;
}

int seawal_file_close(SeawalFile *p){
  int rc;
  p->file.pMethods->xUnlock(&p->file, SQLITE_LOCK_NONE);
  rc = p->file.pMethods->xClose(&p->file);
  sqlite3_free_filename(p->zName);
  free(p);
  return rc;
}

/****************************** The consumer *********************************/

const SeawalCommit *seawal_tap_next(SeawalTap *pTap, int *pnOut){
  int i;
  pthread_mutex_lock(&pTap->mutex);
  /* Half of the queue at most is out of reach of merging. */
  for(i=0; i<SEAWAL_BATCH && pTap->iQNext<pTap->iQHead && pTap->iQNext-pTap->iQTail<QUEUE_MAX/2; i++){
    SeawalCommit *p = &pTap->aQueue[pTap->iQNext++ % QUEUE_MAX];
    pTap->aOut[i] = *p;
  }
  pthread_mutex_unlock(&pTap->mutex);
  *pnOut = i;
  return pTap->aOut;
}

void seawal_tap_release(SeawalTap *pTap, u64 iTicket){
  pthread_mutex_lock(&pTap->mutex);
  while( pTap->iQTail<pTap->iQNext ){
    SeawalCommit *p = &pTap->aQueue[pTap->iQTail % QUEUE_MAX];
    if( p->iTicket>iTicket ) break;
    if( p->eKind==SEAWAL_RANGE ) pTap->nRange--;
    pTap->iTail = p->iEnd;
    pTap->iQTail++;
  }
  if( pTap->nRange==0 ) pTap->isForeign = 0;
  if( pTap->iHead-pTap->iTail <= pTap->szRing/4 ) pTap->isFull = 0;
  if( pTap->isBlock || (pTap->isFinishing && pTap->nRange==0) ) pthread_cond_broadcast(&pTap->cond);
  pthread_mutex_unlock(&pTap->mutex);
}

int seawal_tap_idle(SeawalTap *pTap){
  int isIdle;
  pthread_mutex_lock(&pTap->mutex);
  isIdle = pTap->isIdle = pTap->iQNext==pTap->iQHead;
  pthread_mutex_unlock(&pTap->mutex);
  return isIdle;
}

void seawal_tap_ask(SeawalTap *pTap, u32 nFrame){
  pthread_mutex_lock(&pTap->mutex);
  pTap->nAsk = nFrame;
  pTap->mxAsk = nFrame ? pTap->mxFrame+askLocked(pTap) : 0;
  pthread_mutex_unlock(&pTap->mutex);
}

void seawal_tap_last(SeawalTap *pTap, u64 *piTicket, int64_t *piTime){
  pthread_mutex_lock(&pTap->mutex);
  *piTicket = pTap->iTicket;
  *piTime = pTap->iTime;
  pthread_mutex_unlock(&pTap->mutex);
}

void seawal_tap_persist(SeawalTap *pTap, int isPersist){
  pthread_mutex_lock(&pTap->mutex);
  pTap->isPersist = isPersist;
  pthread_mutex_unlock(&pTap->mutex);
}

void seawal_tap_stats(SeawalTap *pTap, SeawalStats *pStats){
  pthread_mutex_lock(&pTap->mutex);
  *pStats = pTap->stats;
  pStats->nRing = pTap->iHead-pTap->iTail;
  pStats->mxFrame = pTap->mxFrame;
  pStats->szPage = pTap->szPage;
  pStats->iTicket = pTap->iTicket;
  pStats->iTime = pTap->iTime;
  pStats->nOpen = pTap->nOpen;
  pStats->isLogFull = isLogFullLocked(pTap);
  pStats->isHeld = isHeldBackLocked(pTap);
  pStats->isUnproven = isUnprovenLocked(pTap);
  pthread_mutex_unlock(&pTap->mutex);
}

int seawal_tap_poll(SeawalTap *pTap){
  IndexHdr hdr;
  int eFound = SEAWAL_POLL_DONE;
  pthread_mutex_lock(&pTap->mutex);
  if( pTap->pWriter || pTap->pUnlocked || pTap->nJournal || !(pTap->isKnown || pTap->isCounter) ){
    /* A writer of ours moves the wal-index before it lets go of its lock, which publishes. */
  }else if( pTap->pMapped ){
    if( seawalReadIndexHdr(pTap->pMapped->aShm, &hdr)
     && (!isSameSalt(hdr.aSalt, pTap->aSalt) || hdr.mxFrame!=pTap->mxFrame) ){
      seawalSyncPlaceLocked(pTap, &hdr);
    }else if( pTap->isCounter ){
      eFound = SEAWAL_POLL_COUNTER;   /* the log is new and empty; who switched to it may have written before that */
    }
  }else{
    eFound = pTap->isCounter ? SEAWAL_POLL_COUNTER : SEAWAL_POLL_UNMAPPED;
  }
  pthread_mutex_unlock(&pTap->mutex);
  return eFound;
}

void seawal_tap_mark(SeawalTap *pTap, SeawalMark *pOut){
  pthread_mutex_lock(&pTap->mutex);
  pOut->isCounter = pTap->isCounter;
  pOut->iCounter = pTap->iCounter;
  memcpy(pOut->aSalt, pTap->aSalt, sizeof(pOut->aSalt));
  pOut->mxFrame = pTap->mxFrame;
  pOut->iTicket = pTap->iTicket;
  pOut->isBegun = pTap->isBegun;
  pOut->iBegun = pTap->iBegun;
  pthread_mutex_unlock(&pTap->mutex);
}

int seawal_tap_moved(SeawalTap *pTap){
  int isMoved;
  pthread_mutex_lock(&pTap->mutex);
  isMoved = seawalIsMovedLocked(pTap);
  pthread_mutex_unlock(&pTap->mutex);
  return isMoved;
}

/* Says whether a companion that was opened as pOf is elsewhere, or gone. */
static int isElsewhere(const SeawalPlaceOf *pOf, int isThere, const struct stat *pSt){
  return pOf->iInode!=0 && (!isThere || (u64)pSt->st_ino!=pOf->iInode || (u64)pSt->st_dev!=pOf->iDev);
}

int seawal_tap_companions(SeawalTap *pTap){
  struct stat stWal, stShm;
  SeawalPlaceOf wal, shm;
  int isWal, isShm, isThere;
  int mOut = 0;
  u64 nByte;
  pthread_mutex_lock(&pTap->mutex);
  isWal = pTap->nWal>0;
  isShm = pTap->pMapped!=0;
  wal = pTap->wal;
  shm = pTap->shm;
  nByte = pTap->mxFrame && pTap->isKnown && !pTap->pWriter ? WAL_HDRSIZE + (u64)pTap->mxFrame*slotSize(pTap) : 0;
  pthread_mutex_unlock(&pTap->mutex);
  if( isWal ){
    isThere = seawalStatCompanion(pTap, "-wal", &stWal)==0;
    if( isElsewhere(&wal, isThere, &stWal) ) mOut |= SEAWAL_WAL_GONE;
    else if( isThere && wal.iInode && (u64)stWal.st_size<nByte ) mOut |= SEAWAL_WAL_CUT;
  }
  if( isShm ){
    isThere = seawalStatCompanion(pTap, "-shm", &stShm)==0;
    if( isElsewhere(&shm, isThere, &stShm) ) mOut |= SEAWAL_SHM_GONE;
  }
  /* What was closed, or opened anew, meanwhile says nothing. */
  pthread_mutex_lock(&pTap->mutex);
  if( pTap->nWal==0 || pTap->wal.iInode!=wal.iInode ) mOut &= ~(SEAWAL_WAL_GONE|SEAWAL_WAL_CUT);
  if( pTap->pMapped==0 || pTap->shm.iInode!=shm.iInode ) mOut &= ~SEAWAL_SHM_GONE;
  mOut |= pTap->mSplit;
  pthread_mutex_unlock(&pTap->mutex);
  return mOut;
}

u64 seawal_tap_locked(SeawalTap *pTap, u64 *piShm){
  u64 iInode;
  pthread_mutex_lock(&pTap->mutex);
  iInode = pTap->pMapped && pTap->isFile && pTap->nWal>0 ? pTap->iInode : 0;
  *piShm = pTap->shm.iInode;
  pthread_mutex_unlock(&pTap->mutex);
  return iInode;
}

int seawal_tap_lockless(SeawalTap *pTap){
  int isLockless;
  pthread_mutex_lock(&pTap->mutex);
  isLockless = pTap->isLockless;
  pthread_mutex_unlock(&pTap->mutex);
  return isLockless;
}

int seawal_tap_counter(SeawalTap *pTap, int iReader){
  sqlite3_file *pFile = pTap->apReader[iReader];
  u64 iTicket;
  u32 iCounter;
  int isMoved;
  if( pFile==0 ) return 0;
  pthread_mutex_lock(&pTap->mutex);
  iTicket = pTap->iTicket;
  isMoved = pTap->isCounter && pTap->nJournal==0;
  pthread_mutex_unlock(&pTap->mutex);
  if( !isMoved || !seawalReadCounter(pFile, &iCounter) ) return 0;
  pthread_mutex_lock(&pTap->mutex);
  /* Of a commit of ours it is known only when that is done. */
  isMoved = pTap->isCounter && pTap->nJournal==0 && pTap->iTicket==iTicket && iCounter!=pTap->iCounter;
  pthread_mutex_unlock(&pTap->mutex);
  return isMoved;
}

int seawal_tap_read(SeawalTap *pTap, int iReader, void *pBuf, int nByte, int64_t iOfst){
  sqlite3_file *pFile = pTap->apReader[iReader];
  if( pFile==0 ) return SQLITE_IOERR;
  return ORIGFILE(pFile)->xRead(pFile, pBuf, nByte, iOfst);
}

int seawal_tap_file_size(SeawalTap *pTap, int iReader, int64_t *pnByte){
  sqlite3_file *pFile = pTap->apReader[iReader];
  i64 nByte = 0;
  int rc;
  if( pFile==0 ) return SQLITE_IOERR;
  rc = ORIGFILE(pFile)->xFileSize(pFile, &nByte);
  *pnByte = nByte;
  return rc;
}

int seawal_tap_sync(SeawalTap *pTap, int iReader){
  sqlite3_file *pFile = pTap->apReader[iReader];
  sqlite3_file *pWal;
  if( pFile==0 ) return SQLITE_IOERR;
  pWal = TAIL(pFile)->pWal;
  return pWal ? ORIGFILE(pWal)->xSync(pWal, SQLITE_SYNC_NORMAL) : SQLITE_OK;
}

/* How large the log may become while a state is pinned that is pinned now: shim.h says why. */
static u64 pinnedMost(const SeawalTap *pTap, int nLost){
  u64 mx = pTap->mxWal << (nLost<PIN_LOSSES ? 0 : nLost>PIN_LOSSES+16 ? 16 : nLost-PIN_LOSSES+1);
  u64 nLog = (u64)pTap->mxFrame*slotSize(pTap) + mx/2;
  return nLog>mx ? nLog : mx;
}

int seawal_tap_place(SeawalTap *pTap, int iReader, int nLost, SeawalPlace *pOut){
  sqlite3_file *pFile = pTap->apReader[iReader];
  IndexHdr hdr;
  SeawalTail *p;
  u32 iCounter = 0;
  int isRead = 0;
  int rc = SQLITE_OK;
  memset(pOut, 0, sizeof(*pOut));
  if( pFile==0 ) return SQLITE_IOERR;
  p = TAIL(pFile);
  isRead = seawalReadCounter(pFile, &iCounter);   /* of use in a rollback journal mode, or just after */
  pthread_mutex_lock(&pTap->mutex);
  pOut->isWal = p->pWal!=0;
  pOut->isInFile = p->pWal!=0 && p->iReadLock==0;
  if( p->pWal ){
    if( !seawalReadIndexHdr(p->aShm, &hdr) ){
      rc = SQLITE_BUSY;
    }else if( !pTap->isKnown ){
      seawalSyncPlaceLocked(pTap, &hdr);
    }else if( !isSameSalt(hdr.aSalt, pTap->aSalt) || hdr.mxFrame!=pTap->mxFrame ){
      rc = SQLITE_BUSY;
    }
    /* READ_LOCK(0) keeps the file as it was when the read began: with the whole of the log in it. What was committed
    ** since is not in the file, and cannot be read either: whoever commits next may start the log again. */
    if( rc==SQLITE_OK && p->iReadLock==0 && seawalReadBackfill(p->aShm)!=hdr.mxFrame ) rc = SQLITE_BUSY;
    if( rc==SQLITE_OK && pTap->isCounter ) seawalSyncCounterLocked(pTap, isRead, iCounter);
    pOut->nPage = hdr.nPage;
    pOut->szPage = hdr.szPage;
    memcpy(pOut->aSalt, pTap->aSalt, sizeof(pOut->aSalt));
    pOut->mxFrame = pTap->mxFrame;
  }else if( pTap->isKnown || pTap->isCounter ){
    /* With SHARED held, every commit of ours is published. */
    seawalSyncCounterLocked(pTap, isRead, iCounter);
  }else{
    pTap->isCounter = isRead;
    pTap->iCounter = iCounter;
  }
  pOut->iTicket = pTap->iTicket;
  pOut->iTime = pTap->iTime;
  if( rc==SQLITE_OK ){
    u64 mxPinned = pinnedMost(pTap, nLost);
    if( pTap->nPin++==0 || mxPinned>pTap->mxPinned ) pTap->mxPinned = mxPinned;
  }
  pthread_mutex_unlock(&pTap->mutex);
  return rc;
}

void seawal_tap_attach(SeawalTap *pTap, int eAttach, int isUnread){
  pthread_mutex_lock(&pTap->mutex);
  pTap->eAttach = eAttach;
  pTap->isUnread = isUnread;
  pthread_cond_broadcast(&pTap->cond);
  pthread_mutex_unlock(&pTap->mutex);
}

int seawal_tap_empty(SeawalTap *pTap, u64 iTicket){
  int rc = SQLITE_BUSY;
  pthread_mutex_lock(&pTap->mutex);
  if( pTap->iTicket==iTicket ){
    if( !pTap->isKnown ){
      pTap->isKnown = pTap->isCounter = 1;
      pTap->iCounter = 0;
    }
    rc = SQLITE_OK;
  }
  pthread_mutex_unlock(&pTap->mutex);
  return rc;
}

void seawal_tap_alone(SeawalTap *pTap, int isAlone){
  pthread_mutex_lock(&pTap->mutex);
  pTap->isAlone = isAlone;
  pthread_cond_broadcast(&pTap->cond);
  pthread_mutex_unlock(&pTap->mutex);
}

void seawal_tap_unpin(SeawalTap *pTap){
  pthread_mutex_lock(&pTap->mutex);
  pTap->nPin--;
  if( pTap->isBlock ) pthread_cond_broadcast(&pTap->cond);
  pthread_mutex_unlock(&pTap->mutex);
}

void seawal_tap_hold(SeawalTap *pTap, int n){
  pthread_mutex_lock(&pTap->mutex);
  pTap->nHold += n;
  pthread_cond_broadcast(&pTap->cond);
  pthread_mutex_unlock(&pTap->mutex);
}
