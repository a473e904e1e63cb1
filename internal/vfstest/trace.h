/*
** The border between trace.c and the Go side (trace.go).
**
** Every function here may be called from any thread.  A TraceVfs belongs to
** the caller from seawalTraceRegister() until seawalTraceUnregister() returns
** SQLITE_OK; an event's pData belongs to whoever took the event.
*/
#ifndef SEAWAL_VFSTEST_TRACE_H
#define SEAWAL_VFSTEST_TRACE_H

#include "sqlite_abi.h"

/* Kinds of file.  The methods on shared memory are called on the handle of the
** database, but have a kind of their own. */
#define TRACE_MAIN      1     /* Database */
#define TRACE_WAL       2     /* Write-ahead log */
#define TRACE_JOURNAL   3     /* Rollback journal */
#define TRACE_SHM       4     /* Shared memory: the wal-index */
#define TRACE_TEMP      5     /* Temporary databases and their journals */
#define TRACE_OTHER     6     /* Super-journals, and paths of no known kind */

/* Methods */
#define TRACE_OPEN      1     /* flags: as given */
#define TRACE_CLOSE     2
#define TRACE_READ      3     /* iOfst, nAmt; aHead: what was read */
#define TRACE_WRITE     4     /* iOfst, nAmt; aHead: what was to be written */
#define TRACE_TRUNCATE  5     /* nAmt: new size */
#define TRACE_SYNC      6     /* flags: as given */
#define TRACE_SIZE      7     /* iVal: the answer */
#define TRACE_LOCK      8     /* flags: level */
#define TRACE_UNLOCK    9     /* flags: level */
#define TRACE_RESERVED  10    /* iVal: the answer */
#define TRACE_CONTROL   11    /* flags: opcode; iVal: an int argument afterwards */
#define TRACE_SECTOR    12    /* iVal: the answer */
#define TRACE_DEVCHAR   13    /* iVal: the answer */
#define TRACE_SHMMAP    14    /* iOfst: region, nAmt: its size, flags: extend */
#define TRACE_SHMLOCK   15    /* iOfst: first slot, nAmt: slots, flags */
#define TRACE_BARRIER   16
#define TRACE_SHMUNMAP  17    /* flags: delete */
#define TRACE_FETCH     18    /* iOfst, nAmt; iVal: 1 if a pointer came back */
#define TRACE_UNFETCH   19    /* iOfst; iVal: 1 if a pointer was given */
#define TRACE_DELETE    20    /* flags: sync the folder */
#define TRACE_ACCESS    21    /* flags: as given; iVal: the answer */

#define TRACE_NHEAD     32    /* Bytes of content kept with each event */
#define TRACE_NINDEX    136   /* Bytes of wal-index header kept: all of it */

/* One call */
typedef struct TraceEvent TraceEvent;
struct TraceEvent {
  sqlite3_uint64 iSeq;        /* Counts events of this VFS from 1 */
  sqlite3_int64 iOfst;        /* See the methods above */
  sqlite3_int64 nAmt;         /* See the methods above */
  sqlite3_int64 iVal;         /* See the methods above */
  unsigned int idFile;        /* Open file, counted from 1; 0: no file */
  unsigned int idConn;        /* idFile of its database; 0: not known */
  unsigned int szPage;        /* WAL only: page size, 0 while not known */
  int flags;                  /* See the methods above */
  int rc;                     /* Result that the caller got */
  int nData;                  /* Bytes at pData */
  unsigned char eOp;          /* TRACE_OPEN and so on */
  unsigned char eKind;        /* TRACE_MAIN and so on */
  unsigned char isInjected;   /* A rule decided the outcome */
  unsigned char isPending;    /* Recorded at its start, rc not known yet */
  unsigned char hasIndex;     /* aIndex is set */
  unsigned char nHead;        /* Bytes of aHead that are set */
  unsigned char aHead[TRACE_NHEAD];    /* Start of the content */
  unsigned char aIndex[TRACE_NINDEX];  /* Start of wal-index region 0 */
  void *pData;                /* Path, or a kept payload; from sqlite3_malloc */
};

/* What a rule looks at besides method and kind: bits of mMatch */
#define TRACE_BY_OFST   1
#define TRACE_BY_AMT    2
#define TRACE_BY_FLAGS  4
#define TRACE_BY_BYTE   8     /* xRead, xWrite: byte iOfst is among them */

/* What a rule lets happen below */
#define TRACE_NOTHING   0     /* The lower method is not called */
#define TRACE_PREFIX    1     /* xWrite: only the first nApply bytes arrive; xRead:
                              ** only those are read, and zeros follow */
#define TRACE_ALL       2     /* Everything happens; only the answer is changed */
#define TRACE_PASS      3     /* Everything happens, and its answer stands */

/* What is recorded */
#define TRACE_OFF       0     /* Nothing */
#define TRACE_CALLS     1     /* Every call */
#define TRACE_CONTENT   2     /* Every call, and all that is written */

/* A scripted fault */
typedef struct TraceRule TraceRule;
struct TraceRule {
  int eOp;                    /* Method, 0: any */
  int eKind;                  /* Kind of file, 0: any */
  int mMatch;                 /* TRACE_BY_... bits */
  int flags;                  /* For TRACE_BY_FLAGS */
  sqlite3_int64 iOfst;        /* For TRACE_BY_OFST and TRACE_BY_BYTE */
  sqlite3_int64 nAmt;         /* For TRACE_BY_AMT */
  sqlite3_int64 iNth;         /* Fires at this matching call, from 1 */
  int isSticky;               /* And at each one after it */
  int isWide;                 /* Once it has fired, mMatch counts no more */
  int eApply;                 /* TRACE_NOTHING, TRACE_PREFIX or TRACE_ALL */
  int nApply;                 /* For TRACE_PREFIX */
  int rc;                     /* The result */
  int hasAnswer;              /* Give iAnswer where the method answers an int */
  int iAnswer;
  int fdReached;              /* >=0: write a byte here when firing ... */
  int fdGo;                   /* ... and wait for one from here */
};

typedef struct TraceVfs TraceVfs;

/* Register a VFS called zName over zLower (0: the default).  The files offer
** methods of version mxMethods at most (0: whatever the lower ones offer). */
int seawalTraceRegister(
  const char *zName, const char *zLower, int mxMethods,
  sqlite3_int64 mxEvent, sqlite3_int64 mxKeep, TraceVfs **pp
);

/* Don't say that what is written is handed on as it is. */
void seawalTraceOpaque(TraceVfs*);

/* SQLITE_BUSY while one of its files is open. */
int seawalTraceUnregister(TraceVfs*);

/* Move up to n of the oldest events into a[]. *pnLost: events that found the
** log full since the last call. */
int seawalTraceTake(TraceVfs*, TraceEvent *a, int n, sqlite3_uint64 *pnLost);
void seawalTraceFree(void*);

/* Choose what is recorded; TRACE_CALLS at first.  Rules work either way. */
void seawalTraceRecord(TraceVfs*, int eRecord);

/* Add a rule: its number from 1 up, or 0 when there is no room left. */
int seawalTraceFail(TraceVfs*, const TraceRule*);

/* How often did it fire?  The number of an ended rule may be given out again. */
sqlite3_int64 seawalTraceFired(TraceVfs*, int iRule);
void seawalTraceEnd(TraceVfs*, int iRule);

#endif /* SEAWAL_VFSTEST_TRACE_H */
