/*
** A VFS that knows what of its files would be left if the power failed now.
**
** USING
**
** seawalPowerRegister() puts a VFS over the default one. Another shim can be registered above it. Databases are opened through
** it as ever. Once the power has failed, by seawalPowerOff() or at the call that
** seawalPowerFailAt() named, every call answers SQLITE_IOERR, and seawalPowerOp() tells what was done before:
** disk.go works out from that what a disk may hold. Then everything is closed, and the database is opened
** from what was left, in another folder.
**
** IMPLEMENTATION NOTES
**
** The lower VFS does everything that SQLite asks for: reads, locks and shared memory are the real ones. What changes a
** file, or makes it durable, is noted besides, in order, with all that was written. Database, rollback journal
** and WAL are noted; temporary files don't outlive their process.
**
** What somebody else did to a file before it was opened here counts as durable: a file is noted with
** its content when it is opened.
**
** The lower file is opened in place, with our tail behind it, and pMethods is pointed at a copy of the lower VFS's
** method table in which a few methods are ours.
**
** LIMITATIONS
**
** One PowerVfs can't be put over another. Memory mapping is not offered. Everything that was ever written is in memory,
** until seawalPowerReset(). Super-journals (transactions over several files) are not noted.
*/
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "power.h"

typedef sqlite3_int64 i64;

#define POWER_MXTABLE   8     /* Method tables of a lower VFS */

typedef struct PowerTable PowerTable;
typedef struct PowerTail PowerTail;
typedef struct PowerText PowerText;

/* A copy of a method table of the lower VFS. Constant once pReal is set */
struct PowerTable {
  sqlite3_io_methods mine;          /* Methods of our files */
  const sqlite3_io_methods *pReal;  /* The table that it was copied from */
};

/* A name that ops point at */
struct PowerText {
  PowerText *pNext;                 /* In PowerVfs.pText */
  char z[];
};

/* A registered VFS */
struct PowerVfs {
  sqlite3_vfs base;                 /* Methods; pAppData is the lower VFS */
  pthread_mutex_t mutex;            /* Guards what follows */
  int isOff;                        /* Power has failed */
  i64 nLeft;                        /* Changes until it fails; 0: it doesn't */
  PowerOp *aOp;                     /* What was done, oldest first */
  i64 nOp;                          /* Entries of aOp[] */
  i64 nAlloc;                       /* Entries it has room for */
  PowerText *pText;                 /* Names */
};

/* What we keep for an open file, behind the lower VFS's own structure. Constant once it is open */
struct PowerTail {
  const sqlite3_io_methods *pReal;  /* Methods of the lower file */
  PowerVfs *pVfs;                   /* The VFS that opened it */
  const char *zName;                /* SQLite's: valid while the file is open */
};

static pthread_mutex_t powerMutex = PTHREAD_MUTEX_INITIALIZER;  /* Guards aTable while it is filled, and szLower */
static PowerTable aTable[POWER_MXTABLE];  /* Shared by all PowerVfs: they have one lower VFS */
static int szLower;                       /* Offset of the tail in a file. Constant after the first register */

#define ORIGVFS(p)  ((sqlite3_vfs*)((p)->pAppData))
#define TAIL(p)     ((PowerTail*)((char*)(p) + szLower))

/*
** Notes one thing that is done. The caller holds the mutex. A test that is out of memory ends here:
** nothing that it could find out after that would be true.
*/
static void powerNoteLocked(PowerVfs *p, int eOp, const char *zName, i64 iArg, const void *a, int n){
  PowerOp *pOp;
  PowerText *pText;
  for(pText=p->pText; pText && strcmp(pText->z, zName)!=0; pText=pText->pNext){}
  if( pText==0 ){
    size_t nName = strlen(zName)+1;
    pText = malloc(sizeof(*pText) + nName);
    if( pText==0 ) abort();
    memcpy(pText->z, zName, nName);
    pText->pNext = p->pText;
    p->pText = pText;
  }
  if( p->nOp>=p->nAlloc ){
    p->nAlloc = p->nAlloc ? p->nAlloc*2 : 256;
    p->aOp = realloc(p->aOp, (size_t)p->nAlloc*sizeof(p->aOp[0]));
    if( p->aOp==0 ) abort();
  }
  pOp = &p->aOp[p->nOp++];
  memset(pOp, 0, sizeof(*pOp));
  pOp->eOp = eOp;
  pOp->iArg = iArg;
  pOp->zName = pText->z;
  if( n>0 ){
    pOp->pData = malloc((size_t)n);
    if( pOp->pData==0 ) abort();
    memcpy(pOp->pData, a, (size_t)n);
    pOp->nData = n;
  }
}

/*
** Something is about to be done. Returns SQLITE_OK if the lower VFS may do it. When the power
** fails in the midst of it, it is noted all the same, unless it is a promise: a sync.
*/
static int powerChange(PowerVfs *p, int eOp, const char *zName, i64 iArg, const void *a, int n){
  int rc = SQLITE_OK;
  pthread_mutex_lock(&p->mutex);
  if( p->isOff ){
    rc = SQLITE_IOERR;
  }else if( p->nLeft>0 && --p->nLeft==0 ){
    p->isOff = 1;
    rc = SQLITE_IOERR;
    if( eOp==POWER_DELETE ) iArg = 0;
    if( eOp!=POWER_SYNC ) powerNoteLocked(p, eOp, zName, iArg, a, n);
  }else{
    if( eOp!=POWER_SYNC && eOp!=POWER_DELETE ) powerNoteLocked(p, eOp, zName, iArg, a, n);
  }
  pthread_mutex_unlock(&p->mutex);
  return rc;
}

/*
** It was done: what is true only then is noted.
*/
static void powerDone(PowerVfs *p, int eOp, const char *zName, i64 iArg){
  pthread_mutex_lock(&p->mutex);
  if( !p->isOff || eOp==POWER_DELETE ) powerNoteLocked(p, eOp, zName, p->isOff ? 0 : iArg, 0, 0);
  pthread_mutex_unlock(&p->mutex);
}

static int powerIsOff(PowerVfs *p){
  int isOff;
  pthread_mutex_lock(&p->mutex);
  isOff = p->isOff;
  pthread_mutex_unlock(&p->mutex);
  return isOff;
}

static int powerRead(sqlite3_file *pFile, void *a, int n, i64 iOfst){
  PowerTail *p = TAIL(pFile);
  if( powerIsOff(p->pVfs) ) return SQLITE_IOERR;
  return p->pReal->xRead(pFile, a, n, iOfst);
}

static int powerWrite(sqlite3_file *pFile, const void *a, int n, i64 iOfst){
  PowerTail *p = TAIL(pFile);
  int rc = powerChange(p->pVfs, POWER_WRITE, p->zName, iOfst, a, n);
  return rc ? rc : p->pReal->xWrite(pFile, a, n, iOfst);
}

static int powerTruncate(sqlite3_file *pFile, i64 nByte){
  PowerTail *p = TAIL(pFile);
  int rc = powerChange(p->pVfs, POWER_TRUNCATE, p->zName, nByte, 0, 0);
  return rc ? rc : p->pReal->xTruncate(pFile, nByte);
}

/* The lower VFS needn't sync: what is left is worked out, not found on a disk. */
static int powerSync(sqlite3_file *pFile, int flags){
  PowerTail *p = TAIL(pFile);
  int rc = powerChange(p->pVfs, POWER_SYNC, p->zName, 0, 0, 0);
  (void)flags;
  if( rc==SQLITE_OK ) powerDone(p->pVfs, POWER_SYNC, p->zName, 0);
  return rc;
}

static int powerFileSize(sqlite3_file *pFile, i64 *pnByte){
  PowerTail *p = TAIL(pFile);
  if( powerIsOff(p->pVfs) ) return SQLITE_IOERR;
  return p->pReal->xFileSize(pFile, pnByte);
}

static int powerLock(sqlite3_file *pFile, int eLock){
  PowerTail *p = TAIL(pFile);
  if( powerIsOff(p->pVfs) ) return SQLITE_IOERR;
  return p->pReal->xLock(pFile, eLock);
}

/*
** The copy of a method table, made when it is first met. Returns 0 when there
** are more tables than we have room for.
*/
static const sqlite3_io_methods *powerMethods(const sqlite3_io_methods *pReal){
  const sqlite3_io_methods *pRet = 0;
  int i;
  pthread_mutex_lock(&powerMutex);
  for(i=0; i<POWER_MXTABLE && pRet==0; i++){
    PowerTable *t = &aTable[i];
    if( t->pReal==0 ){
      /* An older table is shorter than ours: copy what it has, the rest stays 0. */
      memcpy(&t->mine, pReal, pReal->iVersion>=2 ? offsetof(sqlite3_io_methods, xFetch)
                                                 : offsetof(sqlite3_io_methods, xShmMap));
      if( t->mine.iVersion>2 ) t->mine.iVersion = 2;
      t->mine.xRead = powerRead;
      t->mine.xWrite = powerWrite;
      t->mine.xTruncate = powerTruncate;
      t->mine.xSync = powerSync;
      t->mine.xFileSize = powerFileSize;
      t->mine.xLock = powerLock;
      t->pReal = pReal;
    }
    if( t->pReal==pReal ) pRet = &t->mine;
  }
  pthread_mutex_unlock(&powerMutex);
  return pRet;
}

/*
** Notes a file that was opened, and has content, as it is.
*/
static int powerNoteContent(PowerVfs *pVfs, sqlite3_file *pFile, const char *zName){
  i64 nByte = 0;
  unsigned char *a;
  int rc = pFile->pMethods->xFileSize(pFile, &nByte);
  if( rc ) return rc;
  a = malloc((size_t)nByte+1);
  if( a==0 ) return SQLITE_NOMEM;
  if( nByte ) rc = pFile->pMethods->xRead(pFile, a, (int)nByte, 0);
  if( rc==SQLITE_OK ){
    pthread_mutex_lock(&pVfs->mutex);
    powerNoteLocked(pVfs, POWER_OPEN, zName, 0, a, (int)nByte);
    pthread_mutex_unlock(&pVfs->mutex);
  }
  free(a);
  return rc;
}

static int powerOpen(sqlite3_vfs *pVfs, const char *zName, sqlite3_file *pFile, int flags, int *pOutFlags){
  const int mNoted = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL;
  PowerVfs *pPower = (PowerVfs*)pVfs;
  PowerTail *p = TAIL(pFile);
  const sqlite3_io_methods *pMine;
  int isNoted = zName!=0 && (flags & mNoted)!=0;
  int isThere = 0;
  int rc;
  if( powerIsOff(pPower) ) goto power_off;
  if( isNoted ){
    rc = ORIGVFS(pVfs)->xAccess(ORIGVFS(pVfs), zName, SQLITE_ACCESS_EXISTS, &isThere);
    if( rc ) return rc;
    if( !isThere && powerChange(pPower, POWER_CREATE, zName, (flags & SQLITE_OPEN_MAIN_DB)==0, 0, 0) ) goto power_off;
  }
  rc = ORIGVFS(pVfs)->xOpen(ORIGVFS(pVfs), zName, pFile, flags, pOutFlags);
  if( rc!=SQLITE_OK || !isNoted ) return rc;
  if( isThere ) rc = powerNoteContent(pPower, pFile, zName);
  pMine = powerMethods(pFile->pMethods);
  if( rc || pMine==0 ){
    pFile->pMethods->xClose(pFile);
    pFile->pMethods = 0;
    return rc ? rc : SQLITE_ERROR;
  }
  p->pReal = pFile->pMethods;
  p->pVfs = pPower;
  p->zName = zName;
  pFile->pMethods = pMine;
  return SQLITE_OK;

power_off:
  pFile->pMethods = 0;   /* SQLite must not call xClose */
  return SQLITE_IOERR;
}

static int powerDelete(sqlite3_vfs *pVfs, const char *zName, int syncDir){
  int rc = powerChange((PowerVfs*)pVfs, POWER_DELETE, zName, 0, 0, 0);
  if( rc==SQLITE_OK ) rc = ORIGVFS(pVfs)->xDelete(ORIGVFS(pVfs), zName, 0);
  if( rc==SQLITE_OK ) powerDone((PowerVfs*)pVfs, POWER_DELETE, zName, syncDir!=0);
  return rc;
}

static int powerAccess(sqlite3_vfs *pVfs, const char *zName, int flags, int *pOut){
  if( powerIsOff((PowerVfs*)pVfs) ) return SQLITE_IOERR;
  return ORIGVFS(pVfs)->xAccess(ORIGVFS(pVfs), zName, flags, pOut);
}

/* Everything else is the lower VFS's, which wants to be called with itself. */
static int powerFullPathname(sqlite3_vfs *p, const char *z, int n, char *zOut){
  return ORIGVFS(p)->xFullPathname(ORIGVFS(p), z, n, zOut);
}
static void *powerDlOpen(sqlite3_vfs *p, const char *z){ return ORIGVFS(p)->xDlOpen(ORIGVFS(p), z); }
static void powerDlError(sqlite3_vfs *p, int n, char *z){ ORIGVFS(p)->xDlError(ORIGVFS(p), n, z); }
static void (*powerDlSym(sqlite3_vfs *p, void *h, const char *z))(void){ return ORIGVFS(p)->xDlSym(ORIGVFS(p), h, z); }
static void powerDlClose(sqlite3_vfs *p, void *h){ ORIGVFS(p)->xDlClose(ORIGVFS(p), h); }
static int powerRandomness(sqlite3_vfs *p, int n, char *z){ return ORIGVFS(p)->xRandomness(ORIGVFS(p), n, z); }
static int powerSleep(sqlite3_vfs *p, int us){ return ORIGVFS(p)->xSleep(ORIGVFS(p), us); }
static int powerCurrentTime(sqlite3_vfs *p, double *pOut){ return ORIGVFS(p)->xCurrentTime(ORIGVFS(p), pOut); }
static int powerGetLastError(sqlite3_vfs *p, int n, char *z){ return ORIGVFS(p)->xGetLastError(ORIGVFS(p), n, z); }
static int powerCurrentTimeInt64(sqlite3_vfs *p, i64 *pOut){ return ORIGVFS(p)->xCurrentTimeInt64(ORIGVFS(p), pOut); }
static int powerSetSystemCall(sqlite3_vfs *pVfs, const char *zName, sqlite3_syscall_ptr x){
  return ORIGVFS(pVfs)->xSetSystemCall(ORIGVFS(pVfs), zName, x);
}
static sqlite3_syscall_ptr powerGetSystemCall(sqlite3_vfs *pVfs, const char *zName){
  if( strcmp(zName, SEAWAL_HANDS_ON)==0 ) return (sqlite3_syscall_ptr)powerOpen;
  return ORIGVFS(pVfs)->xGetSystemCall(ORIGVFS(pVfs), zName);
}
static const char *powerNextSystemCall(sqlite3_vfs *pVfs, const char *zName){
  return ORIGVFS(pVfs)->xNextSystemCall(ORIGVFS(pVfs), zName);
}

int seawalPowerRegister(const char *zName, PowerVfs **pp){
  sqlite3_vfs *pLower = sqlite3_vfs_find(0);
  PowerVfs *p = 0;
  char *zCopy = 0;
  *pp = 0;
  if( sqlite3_vfs_find(zName) ) return SQLITE_MISUSE;
  if( pLower==0 || pLower->iVersion<2 ) return SQLITE_ERROR;
  p = calloc(1, sizeof(*p));
  zCopy = strdup(zName);
  if( p==0 || zCopy==0 ){
    free(p);
    free(zCopy);
    return SQLITE_NOMEM;
  }
  pthread_mutex_lock(&powerMutex);
  szLower = (pLower->szOsFile + 7) & ~7;
  pthread_mutex_unlock(&powerMutex);
  pthread_mutex_init(&p->mutex, 0);
  p->base = (sqlite3_vfs){
    .iVersion = 3,
    .szOsFile = ((pLower->szOsFile + 7) & ~7) + (int)sizeof(PowerTail),
    .mxPathname = pLower->mxPathname,
    .zName = zCopy,
    .pAppData = pLower,
    .xOpen = powerOpen,
    .xDelete = powerDelete,
    .xAccess = powerAccess,
    .xFullPathname = powerFullPathname,
    .xDlOpen = powerDlOpen,
    .xDlError = powerDlError,
    .xDlSym = powerDlSym,
    .xDlClose = powerDlClose,
    .xRandomness = powerRandomness,
    .xSleep = powerSleep,
    .xCurrentTime = powerCurrentTime,
    .xGetLastError = powerGetLastError,
    .xCurrentTimeInt64 = powerCurrentTimeInt64,
    .xSetSystemCall = powerSetSystemCall,
    .xGetSystemCall = powerGetSystemCall,
    .xNextSystemCall = powerNextSystemCall,
  };
  *pp = p;
  return sqlite3_vfs_register(&p->base, 0);
}

void seawalPowerReset(PowerVfs *p){
  i64 i;
  pthread_mutex_lock(&p->mutex);
  for(i=0; i<p->nOp; i++) free(p->aOp[i].pData);
  while( p->pText ){
    PowerText *pNext = p->pText->pNext;
    free(p->pText);
    p->pText = pNext;
  }
  p->nOp = 0;
  p->nLeft = 0;
  p->isOff = 0;
  pthread_mutex_unlock(&p->mutex);
}

void seawalPowerFailAt(PowerVfs *p, i64 nCall){
  pthread_mutex_lock(&p->mutex);
  p->nLeft = nCall;
  pthread_mutex_unlock(&p->mutex);
}

void seawalPowerOff(PowerVfs *p){
  pthread_mutex_lock(&p->mutex);
  p->isOff = 1;
  pthread_mutex_unlock(&p->mutex);
}

void seawalPowerSynced(PowerVfs *p, const char *zName){
  powerDone(p, POWER_SYNC, zName, 0);
}

void seawalPowerFolder(PowerVfs *p){
  powerDone(p, POWER_FOLDER, "", 0);
}

int seawalPowerIsOff(PowerVfs *p){
  return powerIsOff(p);
}

int seawalPowerOp(PowerVfs *p, i64 i, PowerOp *pOut){
  int isThere;
  pthread_mutex_lock(&p->mutex);
  isThere = i>=0 && i<p->nOp;
  if( isThere ) *pOut = p->aOp[i];
  pthread_mutex_unlock(&p->mutex);
  return isThere;
}
