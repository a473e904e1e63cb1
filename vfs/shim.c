/*
** A VFS that sees every write which SQLite makes to the WAL of a replicated
** database, and hands the committed page frames to a consumer in Go.
**
** USING
**
** seawal_shim_register("seawal", 0) puts the shim over the default VFS. A
** database is replicated when seawal_tap_create() was called with its full
** pathname before it is opened; every other file is opened straight on the
** lower VFS and never seen again. Open with "file:app.db?vfs=seawal".
**
** IMPLEMENTATION NOTES
**
** tap.h        the state of a database and of an open file
** shim.c       the VFS, and the methods of its files
** capture.c    what a connection writes becomes commits in a ring
** pages.c      which pages were written, for a difference
** remote.c     commits that wait for the replica
** consumer.c   Go takes them out
**
** Files are not wrapped. The lower VFS opens the caller's sqlite3_file in
** place; behind its object lies our tail (szOsFile = lower + SeawalTail), and
** pMethods is pointed at a copy of the real method table in which a few entries are
** ours. Reads, mmap and shared memory of the database stay native. There is one copy for each
** real table, since a VFS has several (unix: one for databases, another for WALs).
**
** A SeawalTap is what all connections of this process to one database share:
** a mutex, the place in the WAL up to which commits were published, a queue of
** commits, and a ring of bytes with their frames in WAL layout:
**
**    offset  size
**         0    24   frame header: page number, database size if it commits,
**                   salt-1, salt-2, checksum-1, checksum-2 (all big-endian)
**        24  page   page image
**
** Frames of one commit lie one behind the other, in two pieces where the ring wraps.
**
** A frame that commits does not prove that its transaction is committed: the
** sync after it may fail, and after a cache spill it is written twice. The
** truth is the wal-index header at the release of WAL_WRITE_LOCK:
**
**    offset  size   of region 0 of the shared memory (native byte order)
**        12     1   isInit
**        14     2   page size, 1 for 65536
**        16     4   mxFrame, the last committed frame
**        20     4   database size, pages
**        32     8   salt-1, salt-2, in the byte order of the WAL file
**        48    48   a second copy of the first 48 bytes; they differ while one is being written
**
** mxFrame beyond the published place is a commit of ours. At the moment the lock is
** taken it is another process's, and so it is at any time while none of our connections holds that lock:
** seawal_tap_poll() looks through whatever mapping of the wal-index one of them has. With locking_mode=EXCLUSIVE no lock is
** ever taken, and the wal-index may be in heap: COMMIT_PHASETWO publishes what the commit frames say. Nothing
** can hold the log back there, so frames are copied as they are written, and a range may become a gap. Since our
** checkpointer is locked out, the connection gets SQLite's automatic checkpoint back meanwhile.
**
** In rollback journal modes the pages written to the main file are copied, and COMMIT_PHASETWO publishes them. When the lock
** is let go without one, the transaction failed or was rolled back after it had spilled. The file says what came
** of it: SQLite doesn't restore pages that were free, and a commit whose last sync fails has happened
** all the same. So unless the journal is hot, what was written is published too. A hot journal is a gap:
** whoever reads the database plays it back.
**
** SQLite writes each frame as two small writes. The shim holds the frames of a
** transaction back and hands them to the lower VFS in one write, up to
** HOLD_MAX bytes. It holds only while its connection has WAL_WRITE_LOCK, only frames appended
** in sequence, and never past the end of the frame that commits, so that the error of a
** write reaches SQLite from a write of the same transaction, before the wal-index
** moves. Any other call on the file writes out first. What is still held when
** the lock is released was rolled back and is dropped: nobody may see it, and writing it
** later would overwrite another connection's frames.
**
** A commit that overwrites its own frames, fills more than a quarter of the
** ring, or finds the ring full is published as a range of the WAL. While
** such a range is unread the log is held back: restarting it needs WAL_READ_LOCK(1..4)
** exclusively, and the shim answers SQLITE_BUSY there, as a reader would. Past mxWal bytes
** either writers wait (isBlock) or the log is let go, and the ranges become gaps.
**
** Our checkpointer holds the writers up for the end of the log, so that the next one starts it again. For that every reader has to be
** gone that keeps an older state, and so has every writer that has begun to read: these go first for LET_PASS_MS (lockForApp),
** the others are waited for, a few milliseconds in all (lockReaders). Who begins meanwhile waits before it reads (waitForFinish).
**
** An EXCLUSIVE lock on the database file (to leave WAL mode, for locking_mode=EXCLUSIVE, for a commit
** in a rollback journal mode) is in conflict with our own connections, which keep a SHARED one while they have
** the WAL open. Where the application meets them it waits until Go has closed them, which is at once in WAL mode.
** Only a connection that is being closed is not worth that: it checks whether it is the last one. It isn't, as far as it is
** told, while the log has what nobody has read: the last one would delete it. Go's last connection does that, if
** everything was shipped by then.
**
** LOCK ORDER
**
** tapsMutex, then SeawalTap.mutex; shimMutex is taken alone. None is held across a call of the lower
** VFS or of Go. SQLite's own locks are always outside.
**
** LIMITATIONS
**
** Another process's restart of the log is seen only as changed salts: a gap.
** Two transactions of the same connection that commit in EXCLUSIVE mode
** without a COMMIT_PHASETWO between them would be published as one; SQLite never does that.
*/
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "killpoint.h"
#include "tap.h"

static pthread_mutex_t shimMutex = PTHREAD_MUTEX_INITIALIZER;  /* for these two lists */
static SeawalMethods *shimMethods = 0;
static SeawalVfs *shimVfs = 0;

/******************************* WAL files ***********************************/

static int walClose(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  p->nHold = 0;
  if( p->pMain && p->pMain->pWal==pFile ){
    p->pMain->pWal = 0;
    p->pMain->isLeaving = 1;
  }
  pthread_mutex_lock(&p->pTap->mutex);
  p->pTap->nWal--;
  pthread_mutex_unlock(&p->pTap->mutex);
  return ORIGFILE(pFile)->xClose(pFile);
}

static int walRead(sqlite3_file *pFile, void *pBuf, int nByte, i64 iOfst){
  int rc = seawalFlushHold(pFile);
  return rc ? rc : ORIGFILE(pFile)->xRead(pFile, pBuf, nByte, iOfst);
}

static int walWrite(sqlite3_file *pFile, const void *pBuf, int nByte, i64 iOfst){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  const u8 *a = (const u8*)pBuf;
  int szSlot = (int)slotSize(pTap);
  int rc = SQLITE_OK;
  if( nByte==WAL_FRAME_HDRSIZE && get4(&a[4])!=0 ) seawalNoteCommitting(p->pMain);
  if( p->isStraight && p->pMain->isWriter && pTap->szPage && iOfst>=WAL_HDRSIZE ){
    u32 iFrame = (u32)((iOfst-WAL_HDRSIZE)/szSlot) + 1;
    i64 iStart = frameOffset(pTap, iFrame);
    int isNext = p->nHold>0 && iOfst==p->iHold+p->nHold;
    if( nByte==WAL_FRAME_HDRSIZE && iOfst==iStart && iFrame>pTap->mxTxn ){
      /* A header at the append point. A header anywhere else is a rewrite, that no page follows. */
      if( !isNext || p->nHold+szSlot>HOLD_MAX ){
        rc = seawalFlushHold(pFile);
        if( rc ) return rc;
        p->iHold = iOfst;
      }
      memcpy(&pTap->aHold[p->nHold], a, WAL_FRAME_HDRSIZE);
      p->nHold += WAL_FRAME_HDRSIZE;
      p->isHoldCommit = get4(&a[4])!=0;
      pthread_mutex_lock(&pTap->mutex);
      pTap->mxTxn = iFrame;
      seawalMarkLocked(pTap, get4(a));
      pthread_mutex_unlock(&pTap->mutex);
      return SQLITE_OK;
    }
    if( (u32)nByte==pTap->szPage && isNext && iOfst==iStart+WAL_FRAME_HDRSIZE ){
      memcpy(&pTap->aHold[p->nHold], a, (size_t)nByte);
      p->nHold += nByte;
      return p->isHoldCommit ? seawalFlushHold(pFile) : SQLITE_OK;
    }
  }
  rc = seawalFlushHold(pFile);
  seawalNoteFrame(p, a, nByte, iOfst);
  if( rc==SQLITE_OK ) rc = ORIGFILE(pFile)->xWrite(pFile, pBuf, nByte, iOfst);
  if( rc==SQLITE_OK ){
    if( iOfst==0 && nByte==WAL_HDRSIZE ){
      SEAWAL_POINT("shim/log-header-written");
      seawalNoteWalHeader(pTap, a);
    }else{
      seawalNoteDirectWrite(p, a, nByte, iOfst);
    }
  }else{
    seawalNoCommit(pTap);
  }
  return rc;
}

static int walTruncate(sqlite3_file *pFile, i64 nByte){
  int rc = seawalFlushHold(pFile);
  return rc ? rc : ORIGFILE(pFile)->xTruncate(pFile, nByte);
}

static int walSync(sqlite3_file *pFile, int flags){
  SeawalTap *pTap = TAIL(pFile)->pTap;
  int rc = seawalFlushHold(pFile);
  if( rc==SQLITE_OK ) rc = ORIGFILE(pFile)->xSync(pFile, flags);
  SEAWAL_POINT("shim/log-synced");
  if( rc!=SQLITE_OK ) seawalNoCommit(pTap);   /* with synchronous=FULL */
  return rc;
}

static int walFileSize(sqlite3_file *pFile, i64 *pnByte){
  int rc = seawalFlushHold(pFile);
  return rc ? rc : ORIGFILE(pFile)->xFileSize(pFile, pnByte);
}

static int walFileControl(sqlite3_file *pFile, int op, void *pArg){
  int rc = seawalFlushHold(pFile);
  return rc ? rc : ORIGFILE(pFile)->xFileControl(pFile, op, pArg);
}

/******************************* Main files **********************************/

/* Nanoseconds that nobody sets back. */
static i64 monotonic(void){
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (i64)t.tv_sec*1000000000 + t.tv_nsec;
}

/* An absolute time for pthread_cond_timedwait(). */
static struct timespec inMilliseconds(int ms){
  struct timespec t;
  clock_gettime(COND_CLOCK, &t);
  t.tv_nsec += (long)ms*1000000;
  t.tv_sec += t.tv_nsec/1000000000;
  t.tv_nsec %= 1000000000;
  return t;
}

/* A connection of the application waits for SeawalTap.cond, for WAIT_MS at most: nobody tells of an interrupt. Returns 0, without
** waiting, when there was one. */
static int waitLocked(SeawalTail *p){
  struct timespec t = inMilliseconds(WAIT_MS);
  if( connOf(p) && sqlite3_is_interrupted(connOf(p)) ) return 0;
  pthread_cond_timedwait(&p->pTap->cond, &p->pTap->mutex, &t);
  return 1;
}

/* The lock that one of our own connections has on the file. */
static void noteLocked(SeawalTail *p, int eLock){
  SeawalTap *pTap = p->pTap;
  if( p->eRole==SEAWAL_APP || p->eLocked==eLock ) return;
  pthread_mutex_lock(&pTap->mutex);
  pTap->nLocked += (eLock>SQLITE_LOCK_NONE) - (p->eLocked>SQLITE_LOCK_NONE);
  pTap->nStrong += (eLock>SQLITE_LOCK_SHARED) - (p->eLocked>SQLITE_LOCK_SHARED);
  p->eLocked = eLock;
  if( pTap->nGiveWay ) pthread_cond_broadcast(&pTap->cond);
  pthread_mutex_unlock(&pTap->mutex);
}

static int mainClose(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  u64 iOwner = p->iOwner;
  int rc;
  if( p->eRole==SEAWAL_READER && pTap->apReader[p->iReader]==pFile ) pTap->apReader[p->iReader] = 0;
  seawalNoteMapped(p, 0);
  seawalNoteLocked(p);
  seawalForgetOwed(p);
  rc = ORIGFILE(pFile)->xClose(pFile);
  noteLocked(p, SQLITE_LOCK_NONE);
  pthread_mutex_lock(&pTap->mutex);
  seawalNoteJournalLocked(p, 0);
  if( pTap->pWriter==p ) pTap->pWriter = 0;
  if( p->eRole==SEAWAL_APP ) pTap->isAppPersist = p->isPersistWal;
  if( --pTap->nOpen==0 && pTap->isAlone ) seawalSignalGo(pTap, SEAWAL_WAKE_CLOSED);
  pthread_mutex_unlock(&pTap->mutex);
  if( iOwner ) seawalGoOwned(iOwner, -1);   /* ships the rest, perhaps; the tap may be gone after it */
  return rc;
}

static int mainWrite(sqlite3_file *pFile, const void *pBuf, int nByte, i64 iOfst){
  SeawalTail *p = TAIL(pFile);
  int rc;
  if( p->pWal==0 && !p->isJournal ) seawalBeginJournal(pFile);
  if( p->pWal==0 ) seawalNotePage(p->pTap, nByte, iOfst);
  rc = ORIGFILE(pFile)->xWrite(pFile, pBuf, nByte, iOfst);
  if( p->pWal==0 && rc==SQLITE_OK ) seawalCapturePage(p, (const u8*)pBuf, nByte, iOfst);
  return rc;
}

/* Says whether our own connections are in the way of a lock that the application wants. */
static int isInTheWayLocked(const SeawalTap *pTap, int eLock){
  return eLock==SQLITE_LOCK_EXCLUSIVE ? pTap->nLocked>0 : pTap->nStrong>0;
}

/* The application met our own connections, perhaps, on its way to a lock. Waits until they
** are gone, for at most GIVE_WAY_MS, and tries again. */
static int lockWithoutUs(sqlite3_file *pFile, int eLock){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  int nWait = GIVE_WAY_MS/WAIT_MS;
  int rc;
  pthread_mutex_lock(&pTap->mutex);
  pTap->nGiveWay++;
  if( eLock==SQLITE_LOCK_EXCLUSIVE && pTap->nLocked ) seawalSignalGo(pTap, SEAWAL_WAKE_GIVE_WAY);
  while( isInTheWayLocked(pTap, eLock) && nWait-->0 && waitLocked(p) ){}
  pthread_mutex_unlock(&pTap->mutex);
  rc = ORIGFILE(pFile)->xLock(pFile, eLock);
  pthread_mutex_lock(&pTap->mutex);
  pTap->nGiveWay--;
  pthread_mutex_unlock(&pTap->mutex);
  return rc;
}

/* Says whether a connection asks for the EXCLUSIVE lock because it is being closed, to see whether it is the last one: it
** has no statement left then. */
static int isClosing(const SeawalTail *p, int eLock){
  return eLock==SQLITE_LOCK_EXCLUSIVE && connOf(p) && sqlite3_next_stmt(connOf(p), 0)==0;
}

/* xLock of our own connections: they wait for nobody. */
static int lockOurs(sqlite3_file *pFile, int eLock){
  SeawalTail *p = TAIL(pFile);
  int isWanted;
  int rc;
  pthread_mutex_lock(&p->pTap->mutex);
  isWanted = p->pTap->nGiveWay>0;
  /* The last of our connections leaves the log, and the file that it follows on, to the next open. */
  if( p->pWal && p->pTap->isPersist && isClosing(p, eLock) ) isWanted = 1;
  pthread_mutex_unlock(&p->pTap->mutex);
  if( isWanted ) return SQLITE_BUSY;
  /* Noted before: what another connection meets must be known. A lock beyond SHARED that is refused may leave
  ** a PENDING one behind, until xUnlock. */
  if( eLock>p->eLocked ) noteLocked(p, eLock);
  rc = ORIGFILE(pFile)->xLock(pFile, eLock);
  if( rc!=SQLITE_OK && eLock==SQLITE_LOCK_SHARED ) noteLocked(p, SQLITE_LOCK_NONE);
  return rc;
}

static int mainLock(sqlite3_file *pFile, int eLock){
  SeawalTail *p = TAIL(pFile);
  int rc;
  if( p->eRole!=SEAWAL_APP ) return lockOurs(pFile, eLock);
  if( p->pWal && isClosing(p, eLock) ){
    int isNeeded;
    pthread_mutex_lock(&p->pTap->mutex);
    isNeeded = isNeededLocked(p->pTap);
    pthread_mutex_unlock(&p->pTap->mutex);
    if( isNeeded ) return SQLITE_BUSY;   /* not the last one, then: the log stays */
  }
  rc = ORIGFILE(pFile)->xLock(pFile, eLock);
  if( rc==SQLITE_BUSY && !isClosing(p, eLock) ) rc = lockWithoutUs(pFile, eLock);
  if( rc==SQLITE_OK && eLock==SQLITE_LOCK_EXCLUSIVE ) p->isWhole = 1;
  return rc;
}

/* The wal hook of a connection whose replicated databases seawal checkpoints: the others, attached to it, are
** checkpointed as SQLite does by default. */
int seawalAttachedHook(void *pUnused, sqlite3 *db, const char *zDb, int nFrame){
  int isTapped = 0;
  (void)pUnused;
  if( nFrame<CKPT_RETRY ) return SQLITE_OK;
  if( sqlite3_file_control(db, zDb, FCNTL_IS_TAPPED, &isTapped)!=SQLITE_OK || !isTapped ){
    (void)sqlite3_wal_checkpoint(db, zDb);   /* as there: no commit fails of it */
  }
  return SQLITE_OK;
}

static int mainUnlock(sqlite3_file *pFile, int eLock){
  SeawalTail *p = TAIL(pFile);
  int rc;
  if( p->isJournal ){
    seawalEndJournal(pFile);   /* no COMMIT_PHASETWO came */
  }
  p->isLeaving = 0;
  p->isWhole = 0;
  seawalNoteLocked(p);
  rc = ORIGFILE(pFile)->xUnlock(pFile, eLock);
  if( eLock<p->eLocked ) noteLocked(p, eLock);
  if( p->isAutoLent ){
    p->isAutoLent = 0;
    if( p->isHooked ) sqlite3_wal_hook(connOf(p), seawalAttachedHook, 0);
    else sqlite3_wal_autocheckpoint(connOf(p), 0);
  }
  return rc!=SQLITE_OK ? rc : seawalAwaitUnlocked(pFile, eLock);
}

/* PRAGMA seawal_...; SQLITE_NOTFOUND for every other. azArg is SQLite's: 0 the answer, 1 the name, 2 the value. */
static int mainPragma(sqlite3_file *pFile, char **azArg){
  SeawalTail *p = TAIL(pFile);
  char *zOut = 0;
  int isError = 0;
  int isRemote = p->isRemote;
  int64_t msTimeout = p->msTimeout;
  if( sqlite3_stricmp(azArg[1], "locking_mode")==0 && azArg[2] ){
    p->isExclusive = sqlite3_stricmp(azArg[2], "exclusive")==0;
  }
  if( strncmp(azArg[1], "seawal_", 7)!=0 ) return SQLITE_NOTFOUND;
  if( p->eRole==SEAWAL_CHECKPOINT && strcmp(azArg[1], "seawal_sync")==0 ){
    return ORIGFILE(pFile)->xSync(pFile, SQLITE_SYNC_NORMAL);
  }
  if( strcmp(azArg[1], "seawal_handle")==0 ){
    azArg[0] = sqlite3_mprintf("%lld", (i64)p->pTap->iHandle);
    return SQLITE_OK;
  }
  if( strcmp(azArg[1], "seawal_checkpoint_attached")==0 && connOf(p) ){
    sqlite3_wal_hook(connOf(p), seawalAttachedHook, 0);
    p->isHooked = 1;
    return SQLITE_OK;
  }
  if( !seawalGoPragma(p->pTap->iHandle, azArg[1], azArg[2], &zOut, &isError, &isRemote, &msTimeout) ){
    return SQLITE_NOTFOUND;
  }
  if( strcmp(azArg[1], "seawal_durability")==0 && azArg[2] && !isError ){
    if( isRemote && !p->isRemote ) p->iWaited = p->iTicket;   /* what was committed before is not to be waited for */
    p->isRemote = isRemote;
    p->isDurabilitySet = 1;
  }
  p->msTimeout = msTimeout;
  if( zOut ){
    azArg[0] = sqlite3_mprintf("%s", zOut);
    free(zOut);
  }
  return isError ? SQLITE_ERROR : SQLITE_OK;
}

static int mainFileControl(sqlite3_file *pFile, int op, void *pArg){
  SeawalTail *p = TAIL(pFile);
  int isAsked = op==SQLITE_FCNTL_PERSIST_WAL && pArg && *(int*)pArg<0;
  int rc;
  if( op==SQLITE_FCNTL_PRAGMA ){
    /* Every connection of go-sqlite3 begins with it, and it reads the schema: our reader, which never writes, could not
    ** be opened while the application has the file to itself. */
    if( p->eRole==SEAWAL_READER && sqlite3_stricmp(((char**)pArg)[1], "synchronous")==0 ) return SQLITE_OK;
    if( ((char**)pArg)[2] && sqlite3_stricmp(((char**)pArg)[1], "wal_autocheckpoint")==0 ){
      p->isAutoOff = atoi(((char**)pArg)[2])<=0;
      p->isAutoLent = p->isHooked = 0;
    }
    rc = mainPragma(pFile, (char**)pArg);
    if( rc!=SQLITE_NOTFOUND ) return rc;
  }
  if( op==FCNTL_IS_TAPPED ){ *(int*)pArg = 1; return SQLITE_OK; }
  if( op==FCNTL_TAIL ){ *(SeawalTail**)pArg = p; return SQLITE_OK; }
  if( op==SQLITE_FCNTL_PDB ) p->ppDb = (sqlite3**)pArg;
  if( op==SQLITE_FCNTL_SYNC && (rc = seawalRefuseUntold(p, pArg))!=SQLITE_OK ) return rc;
  rc = ORIGFILE(pFile)->xFileControl(pFile, op, pArg);
  if( op==SQLITE_FCNTL_COMMIT_PHASETWO ){
    int rcWait = SQLITE_OK;
    if( p->pWal ){
      if( p->nUnlocked ) seawalCommitUnlocked(p);
      rcWait = seawalAwaitWal(pFile);
    }else if( p->isJournal ){
      seawalCommitJournal(pFile);
      rcWait = seawalAwaitJournal(pFile);
    }
    if( rcWait!=SQLITE_OK ) rc = rcWait;
  }else if( isAsked && p->eRole!=SEAWAL_APP ){
    /* One of our connections is the last to close. Never for the application: SQLite asks in
    ** PRAGMA journal_mode=DELETE too, and with a log that stays the database would stay in WAL mode. */
    pthread_mutex_lock(&p->pTap->mutex);
    if( p->pTap->isPersist || p->pTap->isAppPersist || p->pTap->nRange>0 || p->pTap->nHold>0 ) *(int*)pArg = 1;
    pthread_mutex_unlock(&p->pTap->mutex);
  }else if( op==SQLITE_FCNTL_PERSIST_WAL && pArg && rc==SQLITE_OK ){
    p->isPersistWal = *(int*)pArg!=0;   /* for the one that closes last, which is not the application's */
  }
  return rc;
}

static int mainShmMap(sqlite3_file *pFile, int iRegion, int szRegion, int bExtend, void volatile **pp){
  int rc = ORIGFILE(pFile)->xShmMap(pFile, iRegion, szRegion, bExtend, pp);
  if( iRegion==0 && rc==SQLITE_OK && pp ){
    if( TAIL(pFile)->aShm==0 && *pp ) seawalNoteCompanion(TAIL(pFile)->pTap, "-shm", &TAIL(pFile)->pTap->shm, 0);
    seawalNoteMapped(TAIL(pFile), (const volatile u8*)*pp);
  }
  return rc;
}

static int mainShmUnmap(sqlite3_file *pFile, int deleteFlag){
  if( deleteFlag ) seawalNoteWalDelete(pFile);
  seawalNoteMapped(TAIL(pFile), 0);
  return ORIGFILE(pFile)->xShmUnmap(pFile, deleteFlag);
}

/* Says whether a connection of the application that has read lock iRead has to wait before it asks for WAL_WRITE_LOCK. Who began
** before our checkpointer wanted it goes first: with its read lock it would keep the log from being started again. */
static int isHeldUpLocked(const SeawalTap *pTap, int iRead){
  if( pTap->nOurs || isLogFullLocked(pTap) ) return 1;
  return pTap->nWant>0 && (iRead<=0 || pTap->isImpatient);
}

/* Takes WAL_WRITE_LOCK for a connection of the application. It waits while our checkpointer
** has the lock or is next for it (a few fsyncs at most, where the application's own
** checkpoint would have cost it as much), so that nobody sees an SQLITE_BUSY that is
** our doing; and, with isBlock, while the log is full. */
static int lockForApp(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  int isStuck = p->iReadLock>0;
  int isMet;
  u64 iOurs;
  int rc;
  do{
    pthread_mutex_lock(&pTap->mutex);
    pTap->nStuck += isStuck;
    while( isHeldUpLocked(pTap, p->iReadLock) && waitLocked(p) ){}
    pTap->nStuck -= isStuck;
    iOurs = pTap->iOurs;
    pthread_mutex_unlock(&pTap->mutex);
    rc = ORIGFILE(pFile)->xShmLock(pFile, WAL_WRITE_LOCK, 1, SQLITE_SHM_LOCK|SQLITE_SHM_EXCLUSIVE);
    if( rc!=SQLITE_BUSY || (connOf(p) && sqlite3_is_interrupted(connOf(p))) ) return rc;
    /* Our checkpointer may have been quicker since. */
    pthread_mutex_lock(&pTap->mutex);
    isMet = pTap->nOurs>0 || pTap->iOurs!=iOurs;
    pthread_mutex_unlock(&pTap->mutex);
  }while( isMet );
  return rc;
}

/* Takes WAL_WRITE_LOCK for our checkpointer: waits until the application's
** transaction is over, for at most 100 ms. */
static int lockForUs(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  i64 iLetPass = monotonic() + (i64)LET_PASS_MS*1000000;
  int nTry = 100;
  int rc;
  pthread_mutex_lock(&pTap->mutex);
  pTap->nWant++;
  for(;;){
    struct timespec t = inMilliseconds(1);   /* nobody tells when another process lets go */
    /* Not held across the call below: xShmLock makes a system call at most,
    ** and a release that comes in between is seen by the next attempt. It counts as ours before it is: a
    ** connection of the application that is refused has to know by whom. */
    pTap->nOurs++;
    pthread_mutex_unlock(&pTap->mutex);
    rc = ORIGFILE(pFile)->xShmLock(pFile, WAL_WRITE_LOCK, 1, SQLITE_SHM_LOCK|SQLITE_SHM_EXCLUSIVE);
    pthread_mutex_lock(&pTap->mutex);
    if( rc==SQLITE_OK ) pTap->iOurs++;
    else pTap->nOurs--;
    if( rc!=SQLITE_BUSY ) break;
    pthread_cond_broadcast(&pTap->cond);
    if( pthread_cond_timedwait(&pTap->cond, &pTap->mutex, &t)==ETIMEDOUT && --nTry==0 ) break;
    if( monotonic()>=iLetPass ) pTap->isImpatient = 1;
  }
  pTap->nWant--;
  pTap->isImpatient = 0;
  pthread_cond_broadcast(&pTap->cond);
  pthread_mutex_unlock(&pTap->mutex);
  p->nPatience = READER_LOOKS;
  return rc;
}

/* A connection that writes again and again begins its next transaction while our checkpointer brings
** the whole log into the file. Waits for the end of that, and returns 1: what is read has to be decided anew.
**
** SQLite starts the log again in a write transaction that began when all of the log was in the file. One that has
** its read lock, and then waits for WAL_WRITE_LOCK, began too early: it appends, the log isn't all in the
** file any more, and so on for ever. Under constant writing the log would only grow.
**
** With isOutgrown the log has grown past its bound and is let go. The checkpointer is on its way, and a writer that is
** as fast as the disk would double the log in the meantime: it waits for OUTGROWN_MS at most. */
static int waitForFinish(SeawalTail *p){
  SeawalTap *pTap = p->pTap;
  int nOutgrown = OUTGROWN_MS/WAIT_MS;
  int isWaited = 0;
  pthread_mutex_lock(&pTap->mutex);
  while( (pTap->nOurs || pTap->nWant || pTap->isOutgrown) && waitLocked(p) ){
    isWaited = 1;
    if( pTap->isOutgrown && nOutgrown--==0 ) pTap->isOutgrown = 0;
  }
  pthread_mutex_unlock(&pTap->mutex);
  return isWaited;
}

/* Our checkpointer has brought the log into the file, with WAL_WRITE_LOCK held, and is about to start it again. What
** another process committed before it got that lock is being read back. Waits for that, a moment. Of ranges of our own
** it doesn't: the next transaction starts the log again if they were read by then. */
static void waitUntilRead(SeawalTap *pTap){
  struct timespec t = inMilliseconds(FINISH_WAIT_MS);
  pthread_mutex_lock(&pTap->mutex);
  pTap->isFinishing = 1;
  while( pTap->isForeign && isHeldBackLocked(pTap) && pTap->nPin==0 && pTap->eAttach==SEAWAL_ATTACHED ){
    if( pthread_cond_timedwait(&pTap->cond, &pTap->mutex, &t)==ETIMEDOUT ) break;
  }
  pTap->isFinishing = 0;
  pthread_mutex_unlock(&pTap->mutex);
}

/* Locks slots of readers exclusively. Our checkpointer, which holds the writers up meanwhile, waits a moment for those who read an
** older state, but not for a writer that has begun to read and waits for the checkpointer. */
static int lockReaders(sqlite3_file *pFile, int iSlot, int n, int flags){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  const struct timespec pause = {0, READER_PAUSE_US*1000};
  for(;;){
    int isStuck;
    int rc = ORIGFILE(pFile)->xShmLock(pFile, iSlot, n, flags);
    if( rc!=SQLITE_BUSY || p->eRole!=SEAWAL_CHECKPOINT || !p->isWriter || p->nPatience==0 ) return rc;
    pthread_mutex_lock(&pTap->mutex);
    isStuck = pTap->nStuck>0;
    pTap->stats.nGaveUp += isStuck;
    pthread_mutex_unlock(&pTap->mutex);
    if( isStuck ) return rc;
    p->nPatience--;
    nanosleep(&pause, 0);
  }
}

static int mainWriteLock(sqlite3_file *pFile, int flags){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  int rc;
  if( flags & SQLITE_SHM_LOCK ){
    rc = p->eRole==SEAWAL_APP ? lockForApp(pFile) : lockForUs(pFile);
    if( rc==SQLITE_OK ){
      p->mWrote |= 1;
      seawalBeginWrite(pFile);
    }
    return rc;
  }
  if( p->isWriter ) seawalEndWrite(p);
  p->isWriter = 0;
  rc = ORIGFILE(pFile)->xShmLock(pFile, WAL_WRITE_LOCK, 1, flags);
  SEAWAL_POINT("shim/write-lock-released");
  pthread_mutex_lock(&pTap->mutex);
  if( p->eRole!=SEAWAL_APP ) pTap->nOurs--;
  if( p->eRole==SEAWAL_CHECKPOINT ) pTap->isOutgrown = 0;
  if( p->eRole!=SEAWAL_APP || pTap->nWant ) pthread_cond_broadcast(&pTap->cond);
  pthread_mutex_unlock(&pTap->mutex);
  return rc;
}

static int mainShmLock(sqlite3_file *pFile, int iSlot, int n, int flags){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  int rc;
  if( p->isWhole && p->pWal && (flags & SQLITE_SHM_UNLOCK) ) seawalNoteUnlocked(p);   /* the last lock that it has goes */
  else seawalNoteLocked(p);
  if( iSlot==WAL_WRITE_LOCK && n==1 && (flags & SQLITE_SHM_EXCLUSIVE) ){
    return mainWriteLock(pFile, flags);
  }
  if( (flags & SQLITE_SHM_EXCLUSIVE) && (flags & SQLITE_SHM_LOCK) ){
    int isBusy = 0;
    if( iSlot==WAL_READ_LOCK0+1 && n==WAL_NREADER-1 ){
      if( p->eRole==SEAWAL_CHECKPOINT ) waitUntilRead(pTap);
      pthread_mutex_lock(&pTap->mutex);
      isBusy = isHeldBackLocked(pTap);
      pTap->stats.nHeld += isBusy;
      pthread_mutex_unlock(&pTap->mutex);
    }else if( iSlot==WAL_CKPT_LOCK && n==1 && p->eRole==SEAWAL_APP ){
      pthread_mutex_lock(&pTap->mutex);
      isBusy = isHeldBackLocked(pTap) && !isUnprovenLocked(pTap)
            && pTap->mxFrame-pTap->mxCkpt < CKPT_RETRY;
      if( !isBusy ) pTap->mxCkpt = pTap->mxFrame;
      pthread_mutex_unlock(&pTap->mutex);
    }
    if( isBusy ) return SQLITE_BUSY;
    if( iSlot>WAL_READ_LOCK0 ) return lockReaders(pFile, iSlot, n, flags);
  }
  /* A writer that has just started the log again takes another read lock: it is what our checkpointer waits for. */
  if( (p->mWrote & 2) && !p->isWriter && iSlot>WAL_READ_LOCK0 && flags==(SQLITE_SHM_LOCK|SQLITE_SHM_SHARED)
   && p->eRole==SEAWAL_APP && waitForFinish(p) ){
    return SQLITE_BUSY;   /* SQLite looks at the wal-index again, and asks for the lock that fits */
  }
  if( p->isLetGo && iSlot==WAL_READ_LOCK0+p->iReadLock && flags==(SQLITE_SHM_UNLOCK|SQLITE_SHM_SHARED) ){
    rc = SQLITE_OK;   /* it was given back before the commit waited */
    p->isLetGo = 0;
  }else{
    rc = ORIGFILE(pFile)->xShmLock(pFile, iSlot, n, flags);
  }
  if( (flags & SQLITE_SHM_SHARED) && iSlot>=WAL_READ_LOCK0 ){
    if( (flags & SQLITE_SHM_LOCK) && rc==SQLITE_OK ) p->iReadLock = iSlot-WAL_READ_LOCK0;
    if( flags & SQLITE_SHM_UNLOCK ){
      p->iReadLock = -1;
      if( !p->isWriter ) p->mWrote = (p->mWrote & 1)<<1;
    }
  }
  return rc;
}

/******************************* Method tables *******************************/

/* The copy of a real table for files of one kind, made when it is first
** needed. 0 when memory is out. */
static const SeawalMethods *methodsFor(const sqlite3_io_methods *pReal, int szLower, int isWal){
  SeawalMethods *p;
  pthread_mutex_lock(&shimMutex);
  for(p=shimMethods; p; p=p->pNext){
    if( p->pReal==pReal && p->szLower==szLower && p->isWal==isWal ) break;
  }
  if( p==0 && (p = calloc(1, sizeof(*p)))!=0 ){
    /* A table of an older version is shorter than the struct. */
    size_t n = pReal->iVersion>=3 ? sizeof(p->base)
             : pReal->iVersion==2 ? offsetof(sqlite3_io_methods, xFetch)
             : offsetof(sqlite3_io_methods, xShmMap);
    memcpy(&p->base, pReal, n);
    p->base.iVersion = min(pReal->iVersion, 3);
    p->pReal = pReal;
    p->szLower = szLower;
    p->isWal = isWal;
    p->base.xClose       = isWal ? walClose       : mainClose;
    p->base.xWrite       = isWal ? walWrite       : mainWrite;
    p->base.xFileControl = isWal ? walFileControl : mainFileControl;
    if( isWal ){
      p->base.xRead      = walRead;
      p->base.xTruncate  = walTruncate;
      p->base.xSync      = walSync;
      p->base.xFileSize  = walFileSize;
    }else{
      p->base.xLock      = mainLock;
      p->base.xUnlock    = mainUnlock;
      /* Without shared memory an entry is 0, and SQLite goes by that: it uses no WAL then. */
      if( pReal->iVersion>=2 && pReal->xShmMap ){
        p->base.xShmMap    = mainShmMap;
        p->base.xShmLock   = mainShmLock;
        p->base.xShmUnmap  = mainShmUnmap;
      }
    }
    p->pNext = shimMethods;
    shimMethods = p;
  }
  pthread_mutex_unlock(&shimMutex);
  return p;
}

/********************************** xOpen ************************************/

static char zOurKey[64] = "";   /* set once, before any of our connections is opened */

void seawal_set_key(const char *zKey){
  pthread_mutex_lock(&shimMutex);
  if( zOurKey[0]==0 ) strncpy(zOurKey, zKey, sizeof(zOurKey)-1);
  pthread_mutex_unlock(&shimMutex);
}

/* Says whether Go opens this connection for itself. */
static int isOurs(const char *zName){
  const char *zKey = sqlite3_uri_parameter(zName, "seawal_key");
  return zKey && zOurKey[0] && strcmp(zKey, zOurKey)==0;
}

/* What SQLite's VFS without locks, "unix-none", says to whether a file is being written; 0 where there is no such VFS. */
static int (*locklessAnswer(void))(sqlite3_file*, int*){
  static int (*xAnswer)(sqlite3_file*, int*) = 0;   /* under shimMutex */
  int (*xOut)(sqlite3_file*, int*);
  pthread_mutex_lock(&shimMutex);
  if( xAnswer==0 ){
    sqlite3_vfs *pNone = sqlite3_vfs_find("unix-none");
    sqlite3_file *pFile = pNone ? calloc(1, (size_t)pNone->szOsFile) : 0;
    const char *zName = pFile ? sqlite3_create_filename("/dev/null", "", "", 0, 0) : 0;
    int eOut = 0;
    if( zName && pNone->xOpen(pNone, zName, pFile, SQLITE_OPEN_READONLY|SQLITE_OPEN_MAIN_DB, &eOut)==SQLITE_OK ){
      xAnswer = pFile->pMethods->xCheckReservedLock;
      pFile->pMethods->xClose(pFile);
    }
    sqlite3_free_filename(zName);
    free(pFile);
  }
  xOut = xAnswer;
  pthread_mutex_unlock(&shimMutex);
  return xOut;
}

/* Says whether a file's locks lock nothing: vfs=unix-none, and what SQLite takes by itself on file systems without locks. Our own connections
** would take a transaction that is being written for one that its process has left behind, and roll it back. */
static int isLockless(const sqlite3_file *pFile){
  const sqlite3_io_methods *p = pFile->pMethods;
  return p->xCheckReservedLock==0 || p->xCheckReservedLock==locklessAnswer();
}

static int shimOpen(sqlite3_vfs *pVfs, const char *zName, sqlite3_file *pFile, int flags, int *pOutFlags){
  sqlite3_vfs *pLower = ORIGVFS(pVfs);
  int szLower = pVfs->szOsFile - (int)sizeof(SeawalTail);
  SeawalTail *p = (SeawalTail*)&((u8*)pFile)[szLower];
  SeawalTail *pMain = 0;
  SeawalTap *pTap = 0;
  const SeawalMethods *pMethods;
  int rc;

  memset(p, 0, sizeof(*p));
  if( zName && (flags & SQLITE_OPEN_MAIN_DB) ){
    pTap = seawalTapFor(zName);
  }else if( zName && (flags & SQLITE_OPEN_WAL) ){
    sqlite3_file *pDb = sqlite3_database_file_object(zName);
    if( pDb ) pMain = (SeawalTail*)&((u8*)pDb)[szLower];
    if( pMain && pMain->iMagic==TAIL_MAGIC ) pTap = pMain->pTap;
  }
  rc = pLower->xOpen(pLower, zName, pFile, flags, pOutFlags);
  if( pTap==0 ) return rc;
  if( rc!=SQLITE_OK ) goto open_failed;
  if( pMain==0 && isLockless(pFile) ){
    pthread_mutex_lock(&pTap->mutex);
    pTap->isLockless = 1;   /* Go says what that means */
    pthread_mutex_unlock(&pTap->mutex);
    pFile->pMethods->xClose(pFile);
    rc = SQLITE_CANTOPEN;
    goto open_failed;
  }
  pMethods = methodsFor(pFile->pMethods, szLower, pMain!=0);
  if( pMethods==0 ){
    pFile->pMethods->xClose(pFile);
    rc = SQLITE_NOMEM;
    goto open_failed;
  }
  p->iMagic = TAIL_MAGIC;
  p->pTap = pTap;
  p->iReadLock = -1;
  if( pMain ){
    p->pMain = pMain;
    p->isStraight = ((SeawalVfs*)pVfs)->isStraight;
    pMain->pWal = pFile;
    seawalNoteCompanion(pTap, "-wal", &pTap->wal, 1);
  }else{
    const char *zRole = isOurs(zName) ? sqlite3_uri_parameter(zName, "seawal_role") : 0;
    const char *zReader = sqlite3_uri_parameter(zName, "seawal_reader");
    const char *zCache = sqlite3_uri_parameter(zName, "cache");
    const char *zOwner = sqlite3_uri_parameter(zName, "seawal_owner");
    if( zRole && strcmp(zRole, "reader")==0 ){
      p->eRole = SEAWAL_READER;
      p->iReader = zReader ? atoi(zReader) & (SEAWAL_READERS-1) : 0;
      pTap->apReader[p->iReader] = pFile;
    }
    if( zRole && strcmp(zRole, "checkpoint")==0 ) p->eRole = SEAWAL_CHECKPOINT;
    p->iOwner = zOwner && p->eRole==SEAWAL_APP ? strtoull(zOwner, 0, 10) : 0;
    p->isShared = zCache && strcmp(zCache, "shared")==0;
    p->zName = zName;
    p->pLower = pLower;
    if( seawalNoteOpened(pTap) && p->eRole!=SEAWAL_APP ){
      /* Our own connections read nothing of another file. The application's is refused where Go opens it. */
      if( p->eRole==SEAWAL_READER ) pTap->apReader[p->iReader] = 0;
      pFile->pMethods->xClose(pFile);
      rc = SQLITE_IOERR;
      goto open_failed;
    }
  }
  pFile->pMethods = &pMethods->base;
  if( p->iOwner ) seawalGoOwned(p->iOwner, 1);
  return SQLITE_OK;

open_failed:
  pFile->pMethods = 0;   /* SQLite must not call xClose */
  if( pMain==0 ){
    pthread_mutex_lock(&pTap->mutex);
    pTap->nOpen--;
    pthread_mutex_unlock(&pTap->mutex);
  }
  return rc;
}

/*************************** VFS pass-throughs *******************************/

static int shimDelete(sqlite3_vfs *pVfs, const char *zName, int syncDir){
  return ORIGVFS(pVfs)->xDelete(ORIGVFS(pVfs), zName, syncDir);
}
static int shimAccess(sqlite3_vfs *pVfs, const char *zName, int flags, int *pRes){
  return ORIGVFS(pVfs)->xAccess(ORIGVFS(pVfs), zName, flags, pRes);
}
static int shimFullPathname(sqlite3_vfs *pVfs, const char *zName, int nOut, char *zOut){
  return ORIGVFS(pVfs)->xFullPathname(ORIGVFS(pVfs), zName, nOut, zOut);
}
static void *shimDlOpen(sqlite3_vfs *pVfs, const char *zName){
  return ORIGVFS(pVfs)->xDlOpen(ORIGVFS(pVfs), zName);
}
static void shimDlError(sqlite3_vfs *pVfs, int nByte, char *zErr){
  ORIGVFS(pVfs)->xDlError(ORIGVFS(pVfs), nByte, zErr);
}
static void (*shimDlSym(sqlite3_vfs *pVfs, void *p, const char *zSym))(void){
  return ORIGVFS(pVfs)->xDlSym(ORIGVFS(pVfs), p, zSym);
}
static void shimDlClose(sqlite3_vfs *pVfs, void *p){
  ORIGVFS(pVfs)->xDlClose(ORIGVFS(pVfs), p);
}
static int shimRandomness(sqlite3_vfs *pVfs, int nByte, char *zOut){
  return ORIGVFS(pVfs)->xRandomness(ORIGVFS(pVfs), nByte, zOut);
}
static int shimSleep(sqlite3_vfs *pVfs, int us){
  return ORIGVFS(pVfs)->xSleep(ORIGVFS(pVfs), us);
}
static int shimCurrentTime(sqlite3_vfs *pVfs, double *pTime){
  return ORIGVFS(pVfs)->xCurrentTime(ORIGVFS(pVfs), pTime);
}
static int shimGetLastError(sqlite3_vfs *pVfs, int n, char *z){
  return ORIGVFS(pVfs)->xGetLastError(ORIGVFS(pVfs), n, z);
}
static int shimCurrentTimeInt64(sqlite3_vfs *pVfs, i64 *pTime){
  return ORIGVFS(pVfs)->xCurrentTimeInt64(ORIGVFS(pVfs), pTime);
}
static int shimSetSystemCall(sqlite3_vfs *pVfs, const char *zName, sqlite3_syscall_ptr x){
  return ORIGVFS(pVfs)->xSetSystemCall(ORIGVFS(pVfs), zName, x);
}
static sqlite3_syscall_ptr shimGetSystemCall(sqlite3_vfs *pVfs, const char *zName){
  return ORIGVFS(pVfs)->xGetSystemCall(ORIGVFS(pVfs), zName);
}
static const char *shimNextSystemCall(sqlite3_vfs *pVfs, const char *zName){
  return ORIGVFS(pVfs)->xNextSystemCall(ORIGVFS(pVfs), zName);
}

/********************************* Register **********************************/

int seawal_version_ok(int iVersion){
  /* 3.51.3 fixed the bug; 3.50.7 and 3.44.6 have the fix too. */
  return iVersion>=3051003
      || (iVersion>=3050007 && iVersion<3051000)
      || (iVersion>=3044006 && iVersion<3045000);
}

int seawal_full_pathname(const char *zVfs, const char *zPath, char *zOut, int nOut){
  sqlite3_vfs *pVfs = sqlite3_vfs_find(zVfs);
  if( pVfs==0 ) return SQLITE_ERROR;
  return pVfs->xFullPathname(pVfs, zPath, min(nOut, pVfs->mxPathname+1), zOut);
}

#ifdef __ELF__
int sqlite3_key(sqlite3*, const void*, int) __attribute__((weak));
#endif

const char *seawal_codec(void){
  sqlite3_vfs *p;
#ifdef __ELF__
  if( sqlite3_key!=0 ) return "sqlite3_key";
#endif
  if( sqlite3_compileoption_used("HAS_CODEC") ) return "SQLITE_HAS_CODEC";
  for(p=sqlite3_vfs_find(0); p; p=p->pNext){
    if( strncmp(p->zName, "multipleciphers", 15)==0 ) return p->zName;
  }
  return 0;
}

/* Says whether a VFS is one of SQLite's own for Unix, which share their xOpen, or one of ours that says so. Any other may do to a page what it
** does by the size and the place of a write: a cipher encrypts a page that is written as a page, and lets a frame header pass. One
** write with both would get by it as plain text. */
static int isStraight(sqlite3_vfs *pVfs){
  sqlite3_vfs *pUnix = sqlite3_vfs_find("unix");
  sqlite3_vfs *pExcl = sqlite3_vfs_find("unix-excl");
  if( pUnix && pExcl && pUnix->xOpen==pExcl->xOpen && pVfs->xOpen==pUnix->xOpen ) return 1;
  return pVfs->iVersion>=3 && pVfs->xGetSystemCall && pVfs->xGetSystemCall(pVfs, SEAWAL_HANDS_ON)!=0;
}

int seawal_shim_register(const char *zName, const char *zLower, const char **pzErr){
  sqlite3_vfs *pLower = sqlite3_vfs_find(zLower);
  SeawalVfs *p;
  int rc;
  *pzErr = 0;
  if( pLower==0 ){ *pzErr = "no such lower VFS"; return SQLITE_ERROR; }
  if( pLower->xOpen==shimOpen ){ *pzErr = "that is seawal's own VFS; name the one to lie beneath it"; return SQLITE_ERROR; }
  pthread_mutex_lock(&shimMutex);
  for(p=shimVfs; p && strcmp(p->base.zName, zName)!=0; p=p->pNext){}
  if( p ){
    rc = p->pLower==pLower ? SQLITE_OK : SQLITE_ERROR;
    if( rc ) *pzErr = "the name is taken by a shim over another VFS";
    goto register_done;
  }
  p = calloc(1, sizeof(*p));
  if( p==0 ){ rc = SQLITE_NOMEM; *pzErr = "out of memory"; goto register_done; }
  p->pLower = pLower;
  p->isStraight = isStraight(pLower);
  p->base.iVersion = min(pLower->iVersion, 3);
  p->base.szOsFile = ((pLower->szOsFile+7)&~7) + (int)sizeof(SeawalTail);
  p->base.mxPathname = pLower->mxPathname;
  p->base.zName = strdup(zName);
  p->base.pAppData = pLower->pAppData;
  p->base.xOpen = shimOpen;
  p->base.xDelete = shimDelete;
  p->base.xAccess = shimAccess;
  p->base.xFullPathname = shimFullPathname;
  p->base.xDlOpen = shimDlOpen;
  p->base.xDlError = shimDlError;
  p->base.xDlSym = shimDlSym;
  p->base.xDlClose = shimDlClose;
  p->base.xRandomness = shimRandomness;
  p->base.xSleep = shimSleep;
  p->base.xCurrentTime = shimCurrentTime;
  p->base.xGetLastError = shimGetLastError;
  p->base.xCurrentTimeInt64 = shimCurrentTimeInt64;
  p->base.xSetSystemCall = shimSetSystemCall;
  p->base.xGetSystemCall = shimGetSystemCall;
  p->base.xNextSystemCall = shimNextSystemCall;
  rc = sqlite3_vfs_register(&p->base, 0);
  if( rc ){
    *pzErr = "sqlite3_vfs_register failed";
    free((char*)p->base.zName);
    free(p);
    goto register_done;
  }
  p->pNext = shimVfs;
  shimVfs = p;

register_done:
  pthread_mutex_unlock(&shimMutex);
  return rc;
}
