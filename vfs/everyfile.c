//go:build seawal_everyfile

/*
** A default VFS under which every database file is replicated: everyfile.go says what for.
**
** It is the shim itself, but for two moments. Before a database file is opened Go makes its tap; after the
** file was closed Go hears of it. Files that Go does not want replicated are opened all the same.
*/
#include <stdlib.h>

#include "tap.h"
#include "everyfile.h"

/* A table of the shim with an xClose of ours. Never freed: open files point at it. */
typedef struct EveryMethods EveryMethods;
struct EveryMethods {
  SeawalMethods shim;                  /* must be first: METHODS() finds it at pMethods */
  const sqlite3_io_methods *pOrig;     /* what it is a copy of */
  EveryMethods *pNext;
};

static pthread_mutex_t everyMutex = PTHREAD_MUTEX_INITIALIZER;  /* for this list */
static EveryMethods *everyMethods = 0;
static SeawalVfs everyVfs;             /* the shim's, with an xOpen of ours; set up before anything is opened */
static sqlite3_vfs *everyShim = 0;     /* the shim; likewise */
static sqlite3_vfs *everyDefault = 0;  /* SQLite's default VFS once it is registered: everyVfs, or the shim itself */

int sqlite3_test_control(int op, ...);
#define SQLITE_TESTCTRL_PENDING_BYTE 11

static int everyClose(sqlite3_file *pFile){
  u64 iHandle = TAIL(pFile)->pTap->iHandle;
  int rc = ((const EveryMethods*)pFile->pMethods)->pOrig->xClose(pFile);
  seawalGoEveryClosed(iHandle);
  return rc;
}

static const EveryMethods *everyMethodsFor(const sqlite3_io_methods *pOrig){
  EveryMethods *p;
  pthread_mutex_lock(&everyMutex);
  for(p=everyMethods; p && p->pOrig!=pOrig; p=p->pNext){}
  if( p==0 && (p = calloc(1, sizeof(*p)))!=0 ){
    p->shim = *(const SeawalMethods*)pOrig;
    p->shim.base.xClose = everyClose;
    p->pOrig = pOrig;
    p->pNext = everyMethods;
    everyMethods = p;
  }
  pthread_mutex_unlock(&everyMutex);
  return p;
}

static int everyOpen(sqlite3_vfs *pVfs, const char *zName, sqlite3_file *pFile, int flags, int *pOutFlags){
  const SeawalTail *pTail = (SeawalTail*)&((u8*)pFile)[pVfs->szOsFile - (int)sizeof(SeawalTail)];
  u64 iHandle = 0;
  int rc;
  if( zName && (flags & SQLITE_OPEN_MAIN_DB) ){
    iHandle = seawalGoEveryOpen((char*)zName, (flags & SQLITE_OPEN_READONLY)!=0);
  }
  rc = everyShim->xOpen(pVfs, zName, pFile, flags, pOutFlags);
  if( iHandle==0 ) return rc;
  if( rc==SQLITE_OK ){
    const EveryMethods *p = pTail->iMagic==TAIL_MAGIC ? everyMethodsFor(pFile->pMethods) : 0;
    if( p ){
      pFile->pMethods = &p->shim.base;
      seawalGoEveryOpened(iHandle);
      return SQLITE_OK;
    }
    pFile->pMethods->xClose(pFile);
    pFile->pMethods = 0;
    rc = SQLITE_ERROR;   /* no memory, or a tap under another name */
  }
  seawalGoEveryClosed(iHandle);
  return rc;
}

int seawal_everyfile_register(const char *zShim){
  everyShim = sqlite3_vfs_find(zShim);
  if( everyShim==0 ) return SQLITE_ERROR;
  everyVfs = *(SeawalVfs*)everyShim;
  everyVfs.base.zName = "seawal-everyfile";
  everyVfs.base.xOpen = everyOpen;
  everyDefault = &everyVfs.base;
  return seawal_everyfile_default();
}

int seawal_everyfile_pass(const char *zShim){
  everyDefault = sqlite3_vfs_find(zShim);
  return everyDefault ? seawal_everyfile_default() : SQLITE_ERROR;
}

int seawal_everyfile_default(void){
  return everyDefault ? sqlite3_vfs_register(everyDefault, 1) : SQLITE_OK;
}

int64_t seawal_everyfile_pending(void){
  return sqlite3_test_control(SQLITE_TESTCTRL_PENDING_BYTE, 0u);
}
