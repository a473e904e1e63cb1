/*
** A VFS that writes down what SQLite asks of its files, and that makes chosen
** calls fail.
**
** USING
**
** seawalTraceRegister() puts a VFS of any name over any other one, so they
** stack: over the real one for a record of what SQLite does, or beneath
** another shim for a record of what that shim lets through and for faults
** that it must survive.  The events are taken with seawalTraceTake(); faults
** are scripted with seawalTraceFail().
**
** IMPLEMENTATION NOTES
**
** Each file is a TraceFile with the lower file directly behind it.  A file
** offers the version of the methods that the lower file offers, so that shared
** memory and memory mapping are neither invented nor lost.
**
** The order of events is the order in which the calls took effect, as far as
** one can tell from above: a call is recorded when it has returned, except
** that one which gives something up (xUnlock, xShmUnmap, unlocking xShmLock)
** is recorded before it goes down, marked pending until its result is known.
** Otherwise another thread's acquisition could come before the release that
** made it possible.
**
** The wal-index header is copied while the caller still holds, or already
** holds, the lock in question.  Under WAL_WRITE_LOCK it is exact.  Elsewhere
** another connection may be writing it and the copy may be torn, just as it
** may be for SQLite itself.
**
** LIMITATIONS
**
** xSleep, xRandomness, the clocks, xFullPathname and the xDl methods are
** passed on without a trace.  The page size of a WAL is known once its header
** went past on the same handle, or from the wal-index of the same connection.
*/
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "trace.h"

typedef unsigned char u8;
typedef unsigned int u32;
typedef sqlite3_int64 i64;
typedef sqlite3_uint64 u64;

#define TRACE_MXRULE      64  /* Rules at one time */
#define TRACE_SZPAGE_WAL  8   /* Offset of the page size in a WAL header */
#define TRACE_SZPAGE_SHM  14  /* Offset of the page size in the wal-index */
#define TRACE_WALHDR      32  /* Size of a WAL header */

typedef struct TraceFile TraceFile;

/* A registered tracing VFS */
struct TraceVfs {
  sqlite3_vfs base;           /* Methods; pAppData is the lower VFS */
  sqlite3_mutex *pMutex;      /* Guards every field below */
  int mxMethods;              /* Highest iVersion to offer, 0: any. Constant */
  int isOpaque;               /* Doesn't say that it hands on what is written */
  int eRecord;                /* TRACE_OFF, TRACE_CALLS or TRACE_CONTENT */
  u32 idLast;                 /* Last TraceFile.id given out */
  TraceFile *pFirst;          /* All open files */
  TraceEvent *aLog;           /* The log, oldest event first */
  i64 nLog;                   /* Events in aLog[] */
  i64 nAlloc;                 /* Events that aLog[] has room for */
  i64 mxLog;                  /* Events that it may grow to. Constant */
  i64 nKeep;                  /* Bytes of payload held by aLog[] */
  i64 mxKeep;                 /* Bytes that it may hold. Constant */
  u64 iSeq;                   /* Last event recorded */
  u64 nLost;                  /* Events not recorded for lack of room */
  struct {
    TraceRule s;              /* As given */
    int isUsed;               /* Given and not ended */
    int isLive;               /* May still fire */
    i64 nSeen;                /* Matching calls so far */
    i64 nFired;               /* Calls whose outcome it decided */
  } aRule[TRACE_MXRULE];
};

/* An open file.  The lower file follows directly. */
struct TraceFile {
  sqlite3_file base;          /* Methods */
  TraceVfs *pVfs;             /* Where events go. Constant */
  u32 id;                     /* Number of this file. Constant */
  u8 eKind;                   /* TRACE_MAIN and so on. Constant */
  TraceFile *pMain;           /* WAL, journal: the database, if known. Guarded
                              ** by the mutex: cleared when that is closed */
  u32 szPage;                 /* WAL: page size, once known. Caller's thread */
  const volatile u8 *aIndex;  /* Main: wal-index region 0. Guarded by the mutex,
                              ** as another file's thread may look */
  TraceFile *pNext;           /* Next in TraceVfs.pFirst. Guarded by the mutex */
};

/* A call under way */
typedef struct TraceCall TraceCall;
struct TraceCall {
  TraceEvent e;               /* The event to be */
  TraceRule rule;             /* The rule that fired, if e.isInjected */
};

#define ORIGVFS(p)   ((sqlite3_vfs*)((p)->pAppData))
#define ORIGFILE(p)  ((sqlite3_file*)(((TraceFile*)(p))+1))
#define METHODS(p)   (ORIGFILE(p)->pMethods)

/*
** Methods for TraceFile
*/
static int traceClose(sqlite3_file*);
static int traceRead(sqlite3_file*, void*, int iAmt, sqlite3_int64 iOfst);
static int traceWrite(sqlite3_file*, const void*, int iAmt, sqlite3_int64);
static int traceTruncate(sqlite3_file*, sqlite3_int64 size);
static int traceSync(sqlite3_file*, int flags);
static int traceFileSize(sqlite3_file*, sqlite3_int64 *pSize);
static int traceLock(sqlite3_file*, int);
static int traceUnlock(sqlite3_file*, int);
static int traceCheckReservedLock(sqlite3_file*, int *pResOut);
static int traceFileControl(sqlite3_file*, int op, void *pArg);
static int traceSectorSize(sqlite3_file*);
static int traceDeviceCharacteristics(sqlite3_file*);
static int traceShmMap(sqlite3_file*, int iPg, int pgsz, int, void volatile**);
static int traceShmLock(sqlite3_file*, int offset, int n, int flags);
static void traceShmBarrier(sqlite3_file*);
static int traceShmUnmap(sqlite3_file*, int deleteFlag);
static int traceFetch(sqlite3_file*, sqlite3_int64 iOfst, int iAmt, void **pp);
static int traceUnfetch(sqlite3_file*, sqlite3_int64 iOfst, void *p);

/*
** Methods for TraceVfs
*/
static int traceOpen(sqlite3_vfs*, const char*, sqlite3_file*, int, int*);
static int traceDelete(sqlite3_vfs*, const char *zName, int syncDir);
static int traceAccess(sqlite3_vfs*, const char *zName, int flags, int*);
static int traceFullPathname(sqlite3_vfs*, const char *zName, int, char*);
static void *traceDlOpen(sqlite3_vfs*, const char *zFilename);
static void traceDlError(sqlite3_vfs*, int nByte, char *zErrMsg);
static void (*traceDlSym(sqlite3_vfs*, void*, const char *zSymbol))(void);
static void traceDlClose(sqlite3_vfs*, void*);
static int traceRandomness(sqlite3_vfs*, int nByte, char *zOut);
static int traceSleep(sqlite3_vfs*, int microseconds);
static int traceCurrentTime(sqlite3_vfs*, double*);
static int traceGetLastError(sqlite3_vfs*, int, char*);
static int traceCurrentTimeInt64(sqlite3_vfs*, sqlite3_int64*);
static int traceSetSystemCall(sqlite3_vfs*, const char*, sqlite3_syscall_ptr);
static sqlite3_syscall_ptr traceGetSystemCall(sqlite3_vfs*, const char*);
static const char *traceNextSystemCall(sqlite3_vfs*, const char *zName);

static const sqlite3_vfs trace_vfs = {
  .iVersion          = 0,     /* set when registered */
  .szOsFile          = 0,     /* set when registered */
  .mxPathname        = 0,     /* set when registered */
  .xOpen             = traceOpen,
  .xDelete           = traceDelete,
  .xAccess           = traceAccess,
  .xFullPathname     = traceFullPathname,
  .xDlOpen           = traceDlOpen,
  .xDlError          = traceDlError,
  .xDlSym            = traceDlSym,
  .xDlClose          = traceDlClose,
  .xRandomness       = traceRandomness,
  .xSleep            = traceSleep,
  .xCurrentTime      = traceCurrentTime,
  .xGetLastError     = traceGetLastError,
  .xCurrentTimeInt64 = traceCurrentTimeInt64,
  .xSetSystemCall    = traceSetSystemCall,
  .xGetSystemCall    = traceGetSystemCall,
  .xNextSystemCall   = traceNextSystemCall
};

#define TRACE_IO_METHODS(V) {                             \
  .iVersion               = (V),                          \
  .xClose                 = traceClose,                   \
  .xRead                  = traceRead,                    \
  .xWrite                 = traceWrite,                   \
  .xTruncate              = traceTruncate,                \
  .xSync                  = traceSync,                    \
  .xFileSize              = traceFileSize,                \
  .xLock                  = traceLock,                    \
  .xUnlock                = traceUnlock,                  \
  .xCheckReservedLock     = traceCheckReservedLock,       \
  .xFileControl           = traceFileControl,             \
  .xSectorSize            = traceSectorSize,              \
  .xDeviceCharacteristics = traceDeviceCharacteristics,   \
  .xShmMap                = (V)>=2 ? traceShmMap : 0,     \
  .xShmLock               = (V)>=2 ? traceShmLock : 0,    \
  .xShmBarrier            = (V)>=2 ? traceShmBarrier : 0, \
  .xShmUnmap              = (V)>=2 ? traceShmUnmap : 0,   \
  .xFetch                 = (V)>=3 ? traceFetch : 0,      \
  .xUnfetch               = (V)>=3 ? traceUnfetch : 0     \
}

/* Entry i is what a file of version i+1 gets */
static const sqlite3_io_methods trace_io_methods[] = {
  TRACE_IO_METHODS(1),
  TRACE_IO_METHODS(2),
  TRACE_IO_METHODS(3)
};

/*
** Read a big-endian 32-bit integer.
*/
static u32 traceGetU32(const u8 *a){
  return ((u32)a[0]<<24) | ((u32)a[1]<<16) | ((u32)a[2]<<8) | a[3];
}

/*
** Copy the start of the wal-index of database p, which may be 0, into the
** event.  Return the page size that it names, 0 if there is none.
*/
static u32 traceIndexLocked(TraceFile *p, TraceEvent *pEvent){
  unsigned short sz;
  int i;
  if( p==0 || p->aIndex==0 ) return 0;
  for(i=0; i<TRACE_NINDEX; i++) pEvent->aIndex[i] = p->aIndex[i];
  memcpy(&sz, &pEvent->aIndex[TRACE_SZPAGE_SHM], sizeof(sz));
  return (sz & 0xfe00) + ((u32)(sz & 1)<<16);
}

/*
** Put the event into the log.  Return 0 when there was no room.
*/
static int traceAppendLocked(TraceVfs *p, TraceEvent *pEvent){
  if( p->nLog>=p->mxLog || p->nKeep+pEvent->nData>p->mxKeep ) return 0;
  if( p->nLog>=p->nAlloc ){
    i64 n = p->nAlloc ? p->nAlloc*2 : 1024;
    TraceEvent *a = sqlite3_realloc64(p->aLog, (u64)n*sizeof(a[0]));
    if( a==0 ) return 0;
    p->aLog = a;
    p->nAlloc = n;
  }
  p->nKeep += pEvent->nData;
  p->aLog[p->nLog++] = *pEvent;
  return 1;
}

/*
** Record the event, unless recording is off.  It gets its number, and owns a
** copy of the nCopy bytes at pCopy: a path, or content if that is recorded.
*/
static void traceRecord(
  TraceVfs *p,
  TraceEvent *pEvent,
  const void *pCopy,
  int nCopy
){
  void *pData = 0;
  int eRecord, isFull = 0;
  sqlite3_mutex_enter(p->pMutex);
  eRecord = p->eRecord;
  sqlite3_mutex_leave(p->pMutex);
  if( eRecord==TRACE_OFF ) return;
  if( pEvent->eOp==TRACE_WRITE && eRecord!=TRACE_CONTENT ) nCopy = 0;
  if( nCopy>0 ){
    pData = sqlite3_malloc64((u64)nCopy);
    if( pData ) memcpy(pData, pCopy, (size_t)nCopy);
    else isFull = 1;
  }
  sqlite3_mutex_enter(p->pMutex);
  pEvent->pData = pData;
  pEvent->nData = nCopy;
  pEvent->iSeq = p->iSeq+1;
  if( isFull || !traceAppendLocked(p, pEvent) ){
    pEvent->iSeq = 0;
    p->nLost++;
    isFull = 1;
  }else{
    p->iSeq++;
  }
  sqlite3_mutex_leave(p->pMutex);
  if( isFull ) sqlite3_free(pData);
}

/*
** A pending event has its result.  Nobody takes a pending event, so it is
** still in the log.
*/
static void traceSettle(TraceVfs *p, const TraceEvent *pEvent){
  if( pEvent->iSeq==0 ) return;
  sqlite3_mutex_enter(p->pMutex);
  assert( p->nLog>0 && pEvent->iSeq>=p->aLog[0].iSeq );
  p->aLog[pEvent->iSeq - p->aLog[0].iSeq].rc = pEvent->rc;
  p->aLog[pEvent->iSeq - p->aLog[0].iSeq].isPending = 0;
  sqlite3_mutex_leave(p->pMutex);
}

/*
** Does the rule speak of this call?
*/
static int traceMatches(const TraceRule *pRule, const TraceEvent *pEvent){
  if( pRule->eOp!=0 && pRule->eOp!=pEvent->eOp ) return 0;
  if( pRule->eKind!=0 && pRule->eKind!=pEvent->eKind ) return 0;
  if( (pRule->mMatch & TRACE_BY_OFST) && pRule->iOfst!=pEvent->iOfst ) return 0;
  if( (pRule->mMatch & TRACE_BY_AMT) && pRule->nAmt!=pEvent->nAmt ) return 0;
  if( (pRule->mMatch & TRACE_BY_FLAGS) && pRule->flags!=pEvent->flags ) return 0;
  if( (pRule->mMatch & TRACE_BY_BYTE)
   && (pRule->iOfst<pEvent->iOfst || pRule->iOfst>=pEvent->iOfst+pEvent->nAmt)
  ){
    return 0;
  }
  return 1;
}

/*
** Report that the call has arrived, and wait until it may go on.
*/
static void traceHold(const TraceRule *pRule){
  char c = 1;
  ssize_t n;
  do{ n = write(pRule->fdReached, &c, 1); }while( n<0 && errno==EINTR );
  if( n!=1 ) return;
  do{ n = read(pRule->fdGo, &c, 1); }while( n<0 && errno==EINTR );
}

/*
** Count the call with every rule that speaks of it, and let the first that
** fires decide it.  Return true if the lower method is to be called.
*/
static int tracePasses(TraceVfs *p, TraceCall *pCall){
  int i;
  sqlite3_mutex_enter(p->pMutex);
  for(i=0; i<TRACE_MXRULE; i++){
    if( !p->aRule[i].isLive ) continue;
    if( !traceMatches(&p->aRule[i].s, &pCall->e) ) continue;
    p->aRule[i].nSeen++;
    if( pCall->e.isInjected || p->aRule[i].nSeen<p->aRule[i].s.iNth ) continue;
    if( !p->aRule[i].s.isSticky ) p->aRule[i].isLive = 0;
    if( p->aRule[i].s.isWide ) p->aRule[i].s.mMatch = 0;
    p->aRule[i].nFired++;
    pCall->rule = p->aRule[i].s;
    pCall->e.isInjected = 1;
  }
  sqlite3_mutex_leave(p->pMutex);
  if( !pCall->e.isInjected ) return 1;
  if( pCall->rule.fdReached>=0 ) traceHold(&pCall->rule);
  pCall->e.rc = pCall->rule.rc;
  return pCall->rule.eApply>=TRACE_ALL;
}

/*
** The lower method returned rc.  That is the result, unless a rule says
** otherwise.
*/
static void traceResult(TraceCall *pCall, int rc){
  if( !pCall->e.isInjected || pCall->rule.eApply==TRACE_PASS ){
    pCall->e.rc = rc;
  }
}

/*
** Begin a call on file p.
*/
static TraceCall traceBegin(
  TraceFile *p,               /* The file */
  int eOp,                    /* Method */
  i64 iOfst,                  /* For the event: offset, */
  i64 nAmt,                   /* amount, */
  int flags                   /* and flags */
){
  TraceCall c;
  TraceVfs *pVfs = p->pVfs;
  memset(&c, 0, sizeof(c));
  c.e.eOp = (u8)eOp;
  c.e.eKind = p->eKind;
  c.e.idFile = p->id;
  c.e.iOfst = iOfst;
  c.e.nAmt = nAmt;
  c.e.flags = flags;
  sqlite3_mutex_enter(pVfs->pMutex);
  if( p->eKind==TRACE_MAIN ){
    c.e.idConn = p->id;
  }else if( p->pMain ){
    c.e.idConn = p->pMain->id;
  }
  if( p->eKind==TRACE_WAL ){
    if( p->szPage==0 ) p->szPage = traceIndexLocked(p->pMain, &c.e);
    c.e.szPage = p->szPage;
  }
  sqlite3_mutex_leave(pVfs->pMutex);
  return c;
}

/*
** Add the wal-index header as it is now.
*/
static void traceIndex(TraceFile *p, TraceCall *pCall){
  sqlite3_mutex_enter(p->pVfs->pMutex);
  traceIndexLocked(p, &pCall->e);
  pCall->e.hasIndex = p->aIndex!=0;
  sqlite3_mutex_leave(p->pVfs->pMutex);
}

/*
** Add the start of what is read or written, and learn the page size of a WAL
** from its header.
*/
static void traceHead(TraceFile *p, TraceCall *pCall, const void *a, int n){
  pCall->e.nHead = (u8)(n<TRACE_NHEAD ? n : TRACE_NHEAD);
  memcpy(pCall->e.aHead, a, pCall->e.nHead);
  if( p->eKind==TRACE_WAL && pCall->e.iOfst==0 && n>=TRACE_WALHDR ){
    p->szPage = traceGetU32(&pCall->e.aHead[TRACE_SZPAGE_WAL]);
    pCall->e.szPage = p->szPage;
  }
}

/*
** The call has returned: record it and hand its result to the caller.
*/
static int traceDone(TraceFile *p, TraceCall *pCall){
  traceRecord(p->pVfs, &pCall->e, 0, 0);
  return pCall->e.rc;
}

/*
** Close a file.  It is closed below whatever a rule says: nobody could close
** it later.
*/
static int traceClose(sqlite3_file *pFile){
  TraceFile *p = (TraceFile*)pFile;
  TraceFile **pp, *pOther;
  TraceVfs *pVfs = p->pVfs;
  TraceCall c = traceBegin(p, TRACE_CLOSE, 0, 0, 0);
  tracePasses(pVfs, &c);
  traceResult(&c, METHODS(p)->xClose(ORIGFILE(p)));
  sqlite3_mutex_enter(pVfs->pMutex);
  for(pp=&pVfs->pFirst; *pp!=p; pp=&(*pp)->pNext){}
  *pp = p->pNext;
  for(pOther=pVfs->pFirst; pOther; pOther=pOther->pNext){
    if( pOther->pMain==p ) pOther->pMain = 0;
  }
  sqlite3_mutex_leave(pVfs->pMutex);
  traceRecord(pVfs, &c.e, 0, 0);
  return c.e.rc;
}

/*
** Read bytes from a file.
*/
static int traceRead(sqlite3_file *pFile, void *a, int n, sqlite3_int64 iOfst){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBegin(p, TRACE_READ, iOfst, n, 0);
  if( tracePasses(p->pVfs, &c) ){
    int rc = METHODS(p)->xRead(ORIGFILE(p), a, n, iOfst);
    if( rc==SQLITE_OK ) traceHead(p, &c, a, n);
    traceResult(&c, rc);
  }else if( c.rule.eApply==TRACE_PREFIX ){
    int nApply = c.rule.nApply<n ? c.rule.nApply : n;
    memset(a, 0, (size_t)n);
    METHODS(p)->xRead(ORIGFILE(p), a, nApply, iOfst);
  }
  return traceDone(p, &c);
}

/*
** Write bytes to a file.
*/
static int traceWrite(
  sqlite3_file *pFile,
  const void *a,
  int n,
  sqlite3_int64 iOfst
){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBegin(p, TRACE_WRITE, iOfst, n, 0);
  traceHead(p, &c, a, n);
  if( tracePasses(p->pVfs, &c) ){
    traceResult(&c, METHODS(p)->xWrite(ORIGFILE(p), a, n, iOfst));
  }else if( c.rule.eApply==TRACE_PREFIX ){
    int nApply = c.rule.nApply<n ? c.rule.nApply : n;
    METHODS(p)->xWrite(ORIGFILE(p), a, nApply, iOfst);
  }
  traceRecord(p->pVfs, &c.e, a, n);
  return c.e.rc;
}

/*
** Truncate a file.
*/
static int traceTruncate(sqlite3_file *pFile, sqlite3_int64 size){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBegin(p, TRACE_TRUNCATE, 0, size, 0);
  if( tracePasses(p->pVfs, &c) ){
    traceResult(&c, METHODS(p)->xTruncate(ORIGFILE(p), size));
  }
  return traceDone(p, &c);
}

/*
** Sync a file.
*/
static int traceSync(sqlite3_file *pFile, int flags){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBegin(p, TRACE_SYNC, 0, 0, flags);
  if( tracePasses(p->pVfs, &c) ){
    traceResult(&c, METHODS(p)->xSync(ORIGFILE(p), flags));
  }
  return traceDone(p, &c);
}

/*
** Return the size of a file.
*/
static int traceFileSize(sqlite3_file *pFile, sqlite3_int64 *pSize){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBegin(p, TRACE_SIZE, 0, 0, 0);
  if( tracePasses(p->pVfs, &c) ){
    int rc = METHODS(p)->xFileSize(ORIGFILE(p), pSize);
    if( rc==SQLITE_OK ) c.e.iVal = *pSize;
    traceResult(&c, rc);
  }
  return traceDone(p, &c);
}

/*
** Lock a file.
*/
static int traceLock(sqlite3_file *pFile, int eLock){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBegin(p, TRACE_LOCK, 0, 0, eLock);
  if( tracePasses(p->pVfs, &c) ){
    traceResult(&c, METHODS(p)->xLock(ORIGFILE(p), eLock));
  }
  return traceDone(p, &c);
}

/*
** Unlock a file.
*/
static int traceUnlock(sqlite3_file *pFile, int eLock){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBegin(p, TRACE_UNLOCK, 0, 0, eLock);
  int isDown = tracePasses(p->pVfs, &c);
  c.e.isPending = 1;
  traceRecord(p->pVfs, &c.e, 0, 0);
  if( isDown ){
    traceResult(&c, METHODS(p)->xUnlock(ORIGFILE(p), eLock));
  }
  traceSettle(p->pVfs, &c.e);
  return c.e.rc;
}

/*
** Check whether another handle holds a RESERVED lock on a file.
*/
static int traceCheckReservedLock(sqlite3_file *pFile, int *pResOut){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBegin(p, TRACE_RESERVED, 0, 0, 0);
  if( tracePasses(p->pVfs, &c) ){
    int rc = METHODS(p)->xCheckReservedLock(ORIGFILE(p), pResOut);
    if( rc==SQLITE_OK ) c.e.iVal = *pResOut;
    traceResult(&c, rc);
  }
  return traceDone(p, &c);
}

/*
** File control.  The argument is recorded, and a rule can answer, for the
** opcodes that are questions with an int.
*/
static int traceFileControl(sqlite3_file *pFile, int op, void *pArg){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBegin(p, TRACE_CONTROL, 0, 0, op);
  int isInt = op==SQLITE_FCNTL_PERSIST_WAL
           || op==SQLITE_FCNTL_POWERSAFE_OVERWRITE;
  traceIndex(p, &c);
  if( tracePasses(p->pVfs, &c) ){
    traceResult(&c, METHODS(p)->xFileControl(ORIGFILE(p), op, pArg));
  }
  if( isInt && c.e.isInjected && c.rule.hasAnswer ) *(int*)pArg = c.rule.iAnswer;
  if( isInt ) c.e.iVal = *(int*)pArg;
  return traceDone(p, &c);
}

/*
** The answer to a question that cannot fail.
*/
static int traceAnswer(TraceFile *p, TraceCall *pCall, int iReal){
  tracePasses(p->pVfs, pCall);
  pCall->e.rc = SQLITE_OK;
  pCall->e.iVal = iReal;
  if( pCall->e.isInjected && pCall->rule.hasAnswer ){
    pCall->e.iVal = pCall->rule.iAnswer;
  }
  traceRecord(p->pVfs, &pCall->e, 0, 0);
  return (int)pCall->e.iVal;
}

/*
** Return the sector size of a file.
*/
static int traceSectorSize(sqlite3_file *pFile){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBegin(p, TRACE_SECTOR, 0, 0, 0);
  return traceAnswer(p, &c, METHODS(p)->xSectorSize(ORIGFILE(p)));
}

/*
** Return the device characteristics of a file.
*/
static int traceDeviceCharacteristics(sqlite3_file *pFile){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBegin(p, TRACE_DEVCHAR, 0, 0, 0);
  return traceAnswer(p, &c, METHODS(p)->xDeviceCharacteristics(ORIGFILE(p)));
}

/*
** Begin a call on the shared memory of database p.
*/
static TraceCall traceBeginShm(
  TraceFile *p, int eOp, i64 iOfst, i64 nAmt, int flags
){
  TraceCall c = traceBegin(p, eOp, iOfst, nAmt, flags);
  c.e.eKind = TRACE_SHM;
  return c;
}

/*
** Map a region of shared memory.  Region 0 starts with the wal-index header.
*/
static int traceShmMap(
  sqlite3_file *pFile,
  int iPg,
  int pgsz,
  int bExtend,
  void volatile **pp
){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBeginShm(p, TRACE_SHMMAP, iPg, pgsz, bExtend);
  *pp = 0;
  if( tracePasses(p->pVfs, &c) ){
    int rc = METHODS(p)->xShmMap(ORIGFILE(p), iPg, pgsz, bExtend, pp);
    if( rc==SQLITE_OK && iPg==0 && pgsz>=TRACE_NINDEX ){
      sqlite3_mutex_enter(p->pVfs->pMutex);
      p->aIndex = (const volatile u8*)*pp;
      sqlite3_mutex_leave(p->pVfs->pMutex);
    }
    traceResult(&c, rc);
  }
  return traceDone(p, &c);
}

/*
** Lock or unlock slots of shared memory.
*/
static int traceShmLock(sqlite3_file *pFile, int offset, int n, int flags){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBeginShm(p, TRACE_SHMLOCK, offset, n, flags);
  int isDown = tracePasses(p->pVfs, &c);
  c.e.isPending = (flags & SQLITE_SHM_UNLOCK)!=0;
  if( c.e.isPending ){
    traceIndex(p, &c);
    traceRecord(p->pVfs, &c.e, 0, 0);
  }
  if( isDown ){
    traceResult(&c, METHODS(p)->xShmLock(ORIGFILE(p), offset, n, flags));
  }
  if( c.e.isPending ){
    traceSettle(p->pVfs, &c.e);
  }else{
    traceIndex(p, &c);
    traceRecord(p->pVfs, &c.e, 0, 0);
  }
  return c.e.rc;
}

/*
** Memory barrier on shared memory.
*/
static void traceShmBarrier(sqlite3_file *pFile){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBeginShm(p, TRACE_BARRIER, 0, 0, 0);
  METHODS(p)->xShmBarrier(ORIGFILE(p));
  traceIndex(p, &c);
  (void)traceDone(p, &c);
}

/*
** Unmap all regions of shared memory.
*/
static int traceShmUnmap(sqlite3_file *pFile, int deleteFlag){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBeginShm(p, TRACE_SHMUNMAP, 0, 0, deleteFlag);
  int isDown = tracePasses(p->pVfs, &c);
  c.e.isPending = 1;
  traceIndex(p, &c);
  traceRecord(p->pVfs, &c.e, 0, 0);
  if( isDown ){
    sqlite3_mutex_enter(p->pVfs->pMutex);
    p->aIndex = 0;
    sqlite3_mutex_leave(p->pVfs->pMutex);
    traceResult(&c, METHODS(p)->xShmUnmap(ORIGFILE(p), deleteFlag));
  }
  traceSettle(p->pVfs, &c.e);
  return c.e.rc;
}

/*
** Fetch a page of a memory-mapped file.
*/
static int traceFetch(
  sqlite3_file *pFile,
  sqlite3_int64 iOfst,
  int n,
  void **pp
){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBegin(p, TRACE_FETCH, iOfst, n, 0);
  *pp = 0;
  if( tracePasses(p->pVfs, &c) ){
    traceResult(&c, METHODS(p)->xFetch(ORIGFILE(p), iOfst, n, pp));
    c.e.iVal = *pp!=0;
  }
  return traceDone(p, &c);
}

/*
** Release a memory-mapped page.
*/
static int traceUnfetch(sqlite3_file *pFile, sqlite3_int64 iOfst, void *pPage){
  TraceFile *p = (TraceFile*)pFile;
  TraceCall c = traceBegin(p, TRACE_UNFETCH, iOfst, 0, 0);
  c.e.iVal = pPage!=0;
  if( tracePasses(p->pVfs, &c) ){
    traceResult(&c, METHODS(p)->xUnfetch(ORIGFILE(p), iOfst, pPage));
  }
  return traceDone(p, &c);
}

/*
** The kind of file that SQLite opens with these flags.
*/
static int traceKind(int flags){
  if( flags & SQLITE_OPEN_MAIN_DB ) return TRACE_MAIN;
  if( flags & SQLITE_OPEN_WAL ) return TRACE_WAL;
  if( flags & SQLITE_OPEN_MAIN_JOURNAL ) return TRACE_JOURNAL;
  if( flags & (SQLITE_OPEN_TEMP_DB|SQLITE_OPEN_TRANSIENT_DB
              |SQLITE_OPEN_TEMP_JOURNAL|SQLITE_OPEN_SUBJOURNAL) ){
    return TRACE_TEMP;
  }
  return TRACE_OTHER;
}

/*
** The kind of file that a path names, where there is no handle to ask.
*/
static int traceKindOfPath(const char *zName){
  size_t n = strlen(zName);
  if( n>8 && strcmp(&zName[n-8], "-journal")==0 ) return TRACE_JOURNAL;
  if( n>4 && strcmp(&zName[n-4], "-wal")==0 ) return TRACE_WAL;
  if( n>4 && strcmp(&zName[n-4], "-shm")==0 ) return TRACE_SHM;
  return TRACE_OTHER;
}

/*
** Begin a call on path zName, which may be 0.
*/
static TraceCall traceBeginPath(int eOp, const char *zName, int flags){
  TraceCall c;
  memset(&c, 0, sizeof(c));
  c.e.eOp = (u8)eOp;
  c.e.eKind = (u8)(zName ? traceKindOfPath(zName) : TRACE_TEMP);
  c.e.flags = flags;
  return c;
}

/*
** Record a call on path zName.
*/
static int traceDonePath(TraceVfs *p, TraceCall *pCall, const char *zName){
  traceRecord(p, &pCall->e, zName, zName ? (int)strlen(zName) : 0);
  return pCall->e.rc;
}

/*
** Give the new file p its number and tie a WAL or journal to its database.
** The handle that SQLite has for the database is ours unless a wrapping VFS
** lies above; so look for it among our own instead of trusting the pointer.
*/
static void traceLink(TraceVfs *pVfs, TraceFile *p, const char *zName){
  sqlite3_file *pDb = 0;
  TraceFile *pOther;
  if( zName && (p->eKind==TRACE_WAL || p->eKind==TRACE_JOURNAL) ){
    pDb = sqlite3_database_file_object(zName);
  }
  sqlite3_mutex_enter(pVfs->pMutex);
  for(pOther=pVfs->pFirst; pDb && pOther; pOther=pOther->pNext){
    if( &pOther->base==pDb ) p->pMain = pOther;
  }
  p->id = ++pVfs->idLast;
  p->pNext = pVfs->pFirst;
  pVfs->pFirst = p;
  sqlite3_mutex_leave(pVfs->pMutex);
}

/*
** Open a file.
*/
static int traceOpen(
  sqlite3_vfs *pVfs,
  const char *zName,
  sqlite3_file *pFile,
  int flags,
  int *pOutFlags
){
  TraceVfs *pTrace = (TraceVfs*)pVfs;
  TraceFile *p = (TraceFile*)pFile;
  sqlite3_file *pSub = ORIGFILE(pFile);
  TraceCall c = traceBeginPath(TRACE_OPEN, zName, flags);
  int iVersion;
  memset(p, 0, sizeof(*p));
  pSub->pMethods = 0;
  p->pVfs = pTrace;
  p->eKind = (u8)traceKind(flags);
  c.e.eKind = p->eKind;
  if( tracePasses(pTrace, &c) ){
    traceResult(&c, ORIGVFS(pVfs)->xOpen(
        ORIGVFS(pVfs), zName, pSub, flags, pOutFlags));
  }
  if( c.e.rc!=SQLITE_OK || pSub->pMethods==0 ) goto trace_open_done;
  traceLink(pTrace, p, zName);
  c.e.idFile = p->id;
  c.e.idConn = p->eKind==TRACE_MAIN ? p->id : p->pMain ? p->pMain->id : 0;
  iVersion = pSub->pMethods->iVersion;
  if( iVersion>3 ) iVersion = 3;
  if( pTrace->mxMethods>0 && iVersion>pTrace->mxMethods ){
    iVersion = pTrace->mxMethods;
  }
  p->base.pMethods = &trace_io_methods[iVersion-1];

trace_open_done:
  if( p->base.pMethods==0 && pSub->pMethods ) pSub->pMethods->xClose(pSub);
  return traceDonePath(pTrace, &c, zName);
}

/*
** Delete the file zName.
*/
static int traceDelete(sqlite3_vfs *pVfs, const char *zName, int syncDir){
  TraceCall c = traceBeginPath(TRACE_DELETE, zName, syncDir);
  if( tracePasses((TraceVfs*)pVfs, &c) ){
    traceResult(&c, ORIGVFS(pVfs)->xDelete(ORIGVFS(pVfs), zName, syncDir));
  }
  return traceDonePath((TraceVfs*)pVfs, &c, zName);
}

/*
** Test for access to the file zName.
*/
static int traceAccess(
  sqlite3_vfs *pVfs,
  const char *zName,
  int flags,
  int *pResOut
){
  TraceCall c = traceBeginPath(TRACE_ACCESS, zName, flags);
  if( tracePasses((TraceVfs*)pVfs, &c) ){
    int rc = ORIGVFS(pVfs)->xAccess(ORIGVFS(pVfs), zName, flags, pResOut);
    if( rc==SQLITE_OK ) c.e.iVal = *pResOut;
    traceResult(&c, rc);
  }
  return traceDonePath((TraceVfs*)pVfs, &c, zName);
}

/*
** All other VFS methods are passed on.
*/
static int traceFullPathname(
  sqlite3_vfs *pVfs,
  const char *zName,
  int nOut,
  char *zOut
){
  return ORIGVFS(pVfs)->xFullPathname(ORIGVFS(pVfs), zName, nOut, zOut);
}
static void *traceDlOpen(sqlite3_vfs *pVfs, const char *zPath){
  return ORIGVFS(pVfs)->xDlOpen(ORIGVFS(pVfs), zPath);
}
static void traceDlError(sqlite3_vfs *pVfs, int nByte, char *zErrMsg){
  ORIGVFS(pVfs)->xDlError(ORIGVFS(pVfs), nByte, zErrMsg);
}
static void (*traceDlSym(sqlite3_vfs *pVfs, void *p, const char *zSym))(void){
  return ORIGVFS(pVfs)->xDlSym(ORIGVFS(pVfs), p, zSym);
}
static void traceDlClose(sqlite3_vfs *pVfs, void *pHandle){
  ORIGVFS(pVfs)->xDlClose(ORIGVFS(pVfs), pHandle);
}
static int traceRandomness(sqlite3_vfs *pVfs, int nByte, char *zBufOut){
  return ORIGVFS(pVfs)->xRandomness(ORIGVFS(pVfs), nByte, zBufOut);
}
static int traceSleep(sqlite3_vfs *pVfs, int nMicro){
  return ORIGVFS(pVfs)->xSleep(ORIGVFS(pVfs), nMicro);
}
static int traceCurrentTime(sqlite3_vfs *pVfs, double *pTimeOut){
  return ORIGVFS(pVfs)->xCurrentTime(ORIGVFS(pVfs), pTimeOut);
}
static int traceGetLastError(sqlite3_vfs *pVfs, int n, char *z){
  return ORIGVFS(pVfs)->xGetLastError(ORIGVFS(pVfs), n, z);
}
static int traceCurrentTimeInt64(sqlite3_vfs *pVfs, sqlite3_int64 *p){
  return ORIGVFS(pVfs)->xCurrentTimeInt64(ORIGVFS(pVfs), p);
}
static int traceSetSystemCall(
  sqlite3_vfs *pVfs,
  const char *zName,
  sqlite3_syscall_ptr pCall
){
  return ORIGVFS(pVfs)->xSetSystemCall(ORIGVFS(pVfs), zName, pCall);
}
static sqlite3_syscall_ptr traceGetSystemCall(
  sqlite3_vfs *pVfs,
  const char *zName
){
  if( strcmp(zName, SEAWAL_HANDS_ON)==0 ){
    return ((TraceVfs*)pVfs)->isOpaque ? 0 : (sqlite3_syscall_ptr)traceOpen;
  }
  return ORIGVFS(pVfs)->xGetSystemCall(ORIGVFS(pVfs), zName);
}
static const char *traceNextSystemCall(sqlite3_vfs *pVfs, const char *zName){
  return ORIGVFS(pVfs)->xNextSystemCall(ORIGVFS(pVfs), zName);
}

/*
** Be a VFS that may do anything to what is written.
*/
void seawalTraceOpaque(TraceVfs *p){ p->isOpaque = 1; }

/*
** Register a tracing VFS.  The name is kept behind the object.
*/
int seawalTraceRegister(
  const char *zName,          /* Name of the new VFS */
  const char *zLower,         /* The VFS below, 0: the default one */
  int mxMethods,              /* Highest version of file methods, 0: any */
  sqlite3_int64 mxEvent,      /* Events that the log may hold */
  sqlite3_int64 mxKeep,       /* Bytes of payload and paths it may hold */
  TraceVfs **pp               /* OUT: the VFS */
){
  sqlite3_vfs *pLower;
  TraceVfs *p;
  size_t nName = strlen(zName)+1;
  int rc;
  *pp = 0;
  if( sqlite3_vfs_find(zName) ) return SQLITE_MISUSE;
  pLower = sqlite3_vfs_find(zLower);
  if( pLower==0 ) return SQLITE_NOTFOUND;
  p = sqlite3_malloc64(sizeof(*p) + nName);
  if( p==0 ) return SQLITE_NOMEM;
  memset(p, 0, sizeof(*p));
  p->base = trace_vfs;
  p->base.iVersion = pLower->iVersion<3 ? pLower->iVersion : 3;
  p->base.szOsFile = (int)sizeof(TraceFile) + pLower->szOsFile;
  p->base.mxPathname = pLower->mxPathname;
  p->base.pAppData = pLower;
  p->base.zName = memcpy(&p[1], zName, nName);
  p->mxMethods = mxMethods;
  p->mxLog = mxEvent;
  p->mxKeep = mxKeep;
  p->eRecord = TRACE_CALLS;
  p->pMutex = sqlite3_mutex_alloc(SQLITE_MUTEX_FAST);
  rc = p->pMutex ? sqlite3_vfs_register(&p->base, 0) : SQLITE_NOMEM;
  if( rc!=SQLITE_OK ){
    sqlite3_mutex_free(p->pMutex);
    sqlite3_free(p);
    return rc;
  }
  *pp = p;
  return SQLITE_OK;
}

int seawalTraceUnregister(TraceVfs *p){
  int rc = SQLITE_OK;
  i64 i;
  sqlite3_mutex_enter(p->pMutex);
  if( p->pFirst ) rc = SQLITE_BUSY;
  sqlite3_mutex_leave(p->pMutex);
  if( rc==SQLITE_OK ) rc = sqlite3_vfs_unregister(&p->base);
  if( rc!=SQLITE_OK ) return rc;
  for(i=0; i<p->nLog; i++) sqlite3_free(p->aLog[i].pData);
  sqlite3_free(p->aLog);
  sqlite3_mutex_free(p->pMutex);
  sqlite3_free(p);
  return SQLITE_OK;
}

int seawalTraceTake(TraceVfs *p, TraceEvent *a, int n, sqlite3_uint64 *pnLost){
  i64 i;
  sqlite3_mutex_enter(p->pMutex);
  for(i=0; i<n && i<p->nLog && !p->aLog[i].isPending; i++){
    a[i] = p->aLog[i];
    p->nKeep -= a[i].nData;
  }
  p->nLog -= i;
  if( p->nLog>0 ) memmove(p->aLog, &p->aLog[i], (size_t)p->nLog*sizeof(a[0]));
  *pnLost = p->nLost;
  p->nLost = 0;
  sqlite3_mutex_leave(p->pMutex);
  return (int)i;
}

void seawalTraceFree(void *p){
  sqlite3_free(p);
}

void seawalTraceRecord(TraceVfs *p, int eRecord){
  sqlite3_mutex_enter(p->pMutex);
  p->eRecord = eRecord;
  sqlite3_mutex_leave(p->pMutex);
}

int seawalTraceFail(TraceVfs *p, const TraceRule *pRule){
  int i;
  sqlite3_mutex_enter(p->pMutex);
  for(i=0; i<TRACE_MXRULE && p->aRule[i].isUsed; i++){}
  if( i<TRACE_MXRULE ){
    memset(&p->aRule[i], 0, sizeof(p->aRule[i]));
    p->aRule[i].s = *pRule;
    p->aRule[i].isUsed = 1;
    p->aRule[i].isLive = 1;
  }
  sqlite3_mutex_leave(p->pMutex);
  return i<TRACE_MXRULE ? i+1 : 0;
}

sqlite3_int64 seawalTraceFired(TraceVfs *p, int iRule){
  i64 n;
  assert( iRule>=1 && iRule<=TRACE_MXRULE );
  sqlite3_mutex_enter(p->pMutex);
  n = p->aRule[iRule-1].nFired;
  sqlite3_mutex_leave(p->pMutex);
  return n;
}

void seawalTraceEnd(TraceVfs *p, int iRule){
  assert( iRule>=1 && iRule<=TRACE_MXRULE );
  sqlite3_mutex_enter(p->pMutex);
  p->aRule[iRule-1].isLive = 0;
  p->aRule[iRule-1].isUsed = 0;
  sqlite3_mutex_leave(p->pMutex);
}
