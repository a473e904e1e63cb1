/*
** A VFS whose disk is as slow as one behind a network.
**
** USING
**
** seawalSlowRegister() puts a VFS of any name over the default one. It stays
** for the life of the process. Another shim can be registered above it.
**
** IMPLEMENTATION NOTES
**
** The model is a block device of a cloud, with a file system of this machine
** on it:
**
**   xSync   takes at least nsSync: the device answers when it has stored
**   xWrite  costs nothing extra: it ends in the page cache
**   xRead   of the database costs nsRead for each extent that was not touched
**           before, because the page cache begins empty and reads ahead
**   xFetch  likewise: a page fault reads the same extent
**
** A delay is slept, not spun, so the thread that waits leaves its processor to
** others, as one that waits for a device does. The real fsync is made too, and
** its time counts towards the delay.
**
** The lower file is opened in place, with our tail behind it, and pMethods is
** pointed at a copy of the lower VFS's method table in which a few methods are
** ours. The unix VFS has several tables, so there is a copy for each.
**
** LIMITATIONS
**
** One SlowVfs can't be put over another. Reads of the log are never slow: what
** was written lately is in the page cache. Bandwidth is not limited.
*/
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "slow.h"
#include "sqlite_abi.h"

typedef sqlite3_int64 i64;

#define SLOW_EXTENT     (64*1024)  /* Bytes that one read from the device brings in */
#define SLOW_MXTABLE    8          /* Method tables of a lower VFS */

typedef struct SlowVfs SlowVfs;
typedef struct SlowTable SlowTable;
typedef struct SlowTail SlowTail;

/* A copy of a method table of the lower VFS. Constant once pReal is set */
struct SlowTable {
  sqlite3_io_methods mine;          /* Methods of our files */
  const sqlite3_io_methods *pReal;  /* The table that it was copied from */
};

/* A registered slow VFS */
struct SlowVfs {
  sqlite3_vfs base;                 /* Methods; pAppData is the lower VFS */
  i64 nsSync;                       /* Duration of a sync. Constant */
  i64 nsRead;                       /* Duration of a read. Constant */
};

/* What we keep for an open file, behind the lower VFS's own structure.
** A file handle belongs to one connection, and so to one thread at a time */
struct SlowTail {
  const sqlite3_io_methods *pReal;  /* Methods of the lower file */
  const SlowVfs *pVfs;              /* The VFS that opened it */
  unsigned char *aWarm;             /* One byte an extent: 1 once touched. 0: reads cost nothing */
  i64 nWarm;                        /* Extents in aWarm */
};

static pthread_mutex_t slowMutex = PTHREAD_MUTEX_INITIALIZER;  /* Guards aTable while it is filled */
static SlowTable aTable[SLOW_MXTABLE];  /* Shared by all slow VFSes: they have one lower VFS */
static int szLower;                     /* Offset of the tail in a file. Constant after the first register */

#define ORIGVFS(p)  ((sqlite3_vfs*)((p)->pAppData))
#define TAIL(p)     ((SlowTail*)((char*)(p) + szLower))

static i64 slowNow(void){
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (i64)t.tv_sec*1000000000 + t.tv_nsec;
}

static void slowSleep(i64 ns){
  struct timespec t;
  if( ns<=0 ) return;
  t.tv_sec = ns/1000000000;
  t.tv_nsec = ns%1000000000;
  nanosleep(&t, 0);
}

/*
** Makes the extents of [iOfst, iOfst+nAmt) warm, and returns how many of them
** were cold. Out of memory makes a file fast, not wrong.
*/
static int slowTouch(SlowTail *p, i64 iOfst, int nAmt){
  i64 i, iLast = (iOfst + nAmt - 1) / SLOW_EXTENT;
  int nCold = 0;
  if( p->aWarm==0 || nAmt<=0 ) return 0;
  if( iLast>=p->nWarm ){
    i64 nNew = (iLast + 1)*2;
    unsigned char *aNew = realloc(p->aWarm, (size_t)nNew);
    if( aNew==0 ) return 0;
    memset(aNew + p->nWarm, 0, (size_t)(nNew - p->nWarm));
    p->aWarm = aNew;
    p->nWarm = nNew;
  }
  for(i=iOfst/SLOW_EXTENT; i<=iLast; i++){
    nCold += p->aWarm[i]==0;
    p->aWarm[i] = 1;
  }
  return nCold;
}

static int slowClose(sqlite3_file *pFile){
  SlowTail *p = TAIL(pFile);
  free(p->aWarm);
  p->aWarm = 0;
  return p->pReal->xClose(pFile);
}

static int slowRead(sqlite3_file *pFile, void *pBuf, int nAmt, i64 iOfst){
  SlowTail *p = TAIL(pFile);
  slowSleep(p->pVfs->nsRead * slowTouch(p, iOfst, nAmt));
  return p->pReal->xRead(pFile, pBuf, nAmt, iOfst);
}

static int slowWrite(sqlite3_file *pFile, const void *pBuf, int nAmt, i64 iOfst){
  SlowTail *p = TAIL(pFile);
  slowTouch(p, iOfst, nAmt);
  return p->pReal->xWrite(pFile, pBuf, nAmt, iOfst);
}

static int slowSync(sqlite3_file *pFile, int flags){
  SlowTail *p = TAIL(pFile);
  i64 iStart = slowNow();
  int rc = p->pReal->xSync(pFile, flags);
  slowSleep(p->pVfs->nsSync - (slowNow() - iStart));
  return rc;
}

static int slowFetch(sqlite3_file *pFile, i64 iOfst, int nAmt, void **pp){
  SlowTail *p = TAIL(pFile);
  int rc = p->pReal->xFetch(pFile, iOfst, nAmt, pp);
  if( rc==SQLITE_OK && *pp!=0 ) slowSleep(p->pVfs->nsRead * slowTouch(p, iOfst, nAmt));
  return rc;
}

/*
** The copy of a method table, made when it is first met. Returns 0 when there
** are more tables than we have room for.
*/
static const sqlite3_io_methods *slowMethods(const sqlite3_io_methods *pReal){
  const sqlite3_io_methods *pRet = 0;
  int i;
  pthread_mutex_lock(&slowMutex);
  for(i=0; i<SLOW_MXTABLE && pRet==0; i++){
    SlowTable *t = &aTable[i];
    if( t->pReal==0 ){
      /* An older table is shorter than ours: copy what it has, the rest stays 0. */
      size_t n = pReal->iVersion>=3 ? sizeof(t->mine)
               : pReal->iVersion==2 ? offsetof(sqlite3_io_methods, xFetch)
               : offsetof(sqlite3_io_methods, xShmMap);
      memcpy(&t->mine, pReal, n);
      t->mine.xClose = slowClose;
      t->mine.xRead = slowRead;
      t->mine.xWrite = slowWrite;
      t->mine.xSync = slowSync;
      if( pReal->iVersion>=3 ) t->mine.xFetch = slowFetch;
      t->pReal = pReal;
    }
    if( t->pReal==pReal ) pRet = &t->mine;
  }
  pthread_mutex_unlock(&slowMutex);
  return pRet;
}

static int slowOpen(sqlite3_vfs *pVfs, const char *zName, sqlite3_file *pFile, int flags, int *pOutFlags){
  SlowTail *p = TAIL(pFile);
  const sqlite3_io_methods *pMine;
  int rc = ORIGVFS(pVfs)->xOpen(ORIGVFS(pVfs), zName, pFile, flags, pOutFlags);
  if( rc!=SQLITE_OK ) return rc;
  memset(p, 0, sizeof(*p));
  pMine = slowMethods(pFile->pMethods);
  if( pMine==0 ){
    pFile->pMethods->xClose(pFile);
    pFile->pMethods = 0;
    return SQLITE_ERROR;
  }
  p->pReal = pFile->pMethods;
  p->pVfs = (const SlowVfs*)pVfs;
  if( flags & SQLITE_OPEN_MAIN_DB ){
    p->nWarm = 64;
    p->aWarm = calloc(1, (size_t)p->nWarm);
  }
  pFile->pMethods = pMine;
  return SQLITE_OK;
}

/* Everything else is the lower VFS's, which wants to be called with itself. */
static int slowDelete(sqlite3_vfs *p, const char *z, int d){ return ORIGVFS(p)->xDelete(ORIGVFS(p), z, d); }
static int slowAccess(sqlite3_vfs *p, const char *z, int f, int *pOut){ return ORIGVFS(p)->xAccess(ORIGVFS(p), z, f, pOut); }
static int slowFullPathname(sqlite3_vfs *p, const char *z, int n, char *zOut){
  return ORIGVFS(p)->xFullPathname(ORIGVFS(p), z, n, zOut);
}
static void *slowDlOpen(sqlite3_vfs *p, const char *z){ return ORIGVFS(p)->xDlOpen(ORIGVFS(p), z); }
static void slowDlError(sqlite3_vfs *p, int n, char *z){ ORIGVFS(p)->xDlError(ORIGVFS(p), n, z); }
static void (*slowDlSym(sqlite3_vfs *p, void *h, const char *z))(void){ return ORIGVFS(p)->xDlSym(ORIGVFS(p), h, z); }
static void slowDlClose(sqlite3_vfs *p, void *h){ ORIGVFS(p)->xDlClose(ORIGVFS(p), h); }
static int slowRandomness(sqlite3_vfs *p, int n, char *z){ return ORIGVFS(p)->xRandomness(ORIGVFS(p), n, z); }
static int slowUsleep(sqlite3_vfs *p, int us){ return ORIGVFS(p)->xSleep(ORIGVFS(p), us); }
static int slowCurrentTime(sqlite3_vfs *p, double *pOut){ return ORIGVFS(p)->xCurrentTime(ORIGVFS(p), pOut); }
static int slowGetLastError(sqlite3_vfs *p, int n, char *z){ return ORIGVFS(p)->xGetLastError(ORIGVFS(p), n, z); }
static int slowCurrentTimeInt64(sqlite3_vfs *p, i64 *pOut){ return ORIGVFS(p)->xCurrentTimeInt64(ORIGVFS(p), pOut); }
static int slowSetSystemCall(sqlite3_vfs *pVfs, const char *zName, sqlite3_syscall_ptr x){
  return ORIGVFS(pVfs)->xSetSystemCall(ORIGVFS(pVfs), zName, x);
}
static sqlite3_syscall_ptr slowGetSystemCall(sqlite3_vfs *pVfs, const char *zName){
  if( strcmp(zName, SEAWAL_HANDS_ON)==0 ) return (sqlite3_syscall_ptr)slowOpen;
  return ORIGVFS(pVfs)->xGetSystemCall(ORIGVFS(pVfs), zName);
}
static const char *slowNextSystemCall(sqlite3_vfs *pVfs, const char *zName){
  return ORIGVFS(pVfs)->xNextSystemCall(ORIGVFS(pVfs), zName);
}

int seawalSlowRegister(const char *zName, long long nsSync, long long nsRead){
  sqlite3_vfs *pLower = sqlite3_vfs_find(0);
  SlowVfs *p;
  char *zCopy;
  if( pLower==0 || pLower->iVersion<2 ) return SQLITE_ERROR;
  p = calloc(1, sizeof(*p));
  zCopy = strdup(zName);
  if( p==0 || zCopy==0 ){
    free(p);
    free(zCopy);
    return SQLITE_NOMEM;
  }
  szLower = (pLower->szOsFile + 7) & ~7;
  p->nsSync = nsSync;
  p->nsRead = nsRead;
  p->base = (sqlite3_vfs){
    .iVersion = 3,
    .szOsFile = szLower + (int)sizeof(SlowTail),
    .mxPathname = pLower->mxPathname,
    .zName = zCopy,
    .pAppData = pLower,
    .xOpen = slowOpen,
    .xDelete = slowDelete,
    .xAccess = slowAccess,
    .xFullPathname = slowFullPathname,
    .xDlOpen = slowDlOpen,
    .xDlError = slowDlError,
    .xDlSym = slowDlSym,
    .xDlClose = slowDlClose,
    .xRandomness = slowRandomness,
    .xSleep = slowUsleep,
    .xCurrentTime = slowCurrentTime,
    .xGetLastError = slowGetLastError,
    .xCurrentTimeInt64 = slowCurrentTimeInt64,
    .xSetSystemCall = slowSetSystemCall,
    .xGetSystemCall = slowGetSystemCall,
    .xNextSystemCall = slowNextSystemCall,
  };
  return sqlite3_vfs_register(&p->base, 0);
}
