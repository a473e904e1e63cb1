/*
** The part of SQLite's C interface that our VFSes use.
**
** The program links one SQLite, the one inside go-sqlite3, and its header is
** not on our include path. SQLite promises that these declarations never
** change (sqlite.org/capi3ref.html). sqlite_abi_check.h holds what is relied on
** as assertions; a test compiles that file against the header of the SQLite in
** the binary too.
*/
#ifndef SEAWAL_SQLITE_ABI_H
#define SEAWAL_SQLITE_ABI_H

#include <stddef.h>

typedef long long int sqlite3_int64;
typedef unsigned long long int sqlite3_uint64;
typedef struct sqlite3_file sqlite3_file;
typedef struct sqlite3_io_methods sqlite3_io_methods;
typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
typedef struct sqlite3_mutex sqlite3_mutex;
typedef struct sqlite3_vfs sqlite3_vfs;
typedef void (*sqlite3_syscall_ptr)(void);

/* Result codes */
#define SQLITE_OK                    0
#define SQLITE_ERROR                 1
#define SQLITE_BUSY                  5
#define SQLITE_NOMEM                 7
#define SQLITE_CANTOPEN          14
#define SQLITE_IOERR                10
#define SQLITE_IOERR_SHORT_READ     (SQLITE_IOERR | (2<<8))
#define SQLITE_NOTFOUND             12
#define SQLITE_MISUSE               21
#define SQLITE_WARNING              28

#define SQLITE_TXN_WRITE             2

/* Flags of xOpen, and of xAccess */
#define SQLITE_ACCESS_EXISTS         0
#define SQLITE_OPEN_READONLY         0x00000001
#define SQLITE_OPEN_READWRITE        0x00000002
#define SQLITE_OPEN_MAIN_DB          0x00000100
#define SQLITE_OPEN_TEMP_DB          0x00000200
#define SQLITE_OPEN_TRANSIENT_DB     0x00000400
#define SQLITE_OPEN_MAIN_JOURNAL     0x00000800
#define SQLITE_OPEN_TEMP_JOURNAL     0x00001000
#define SQLITE_OPEN_SUBJOURNAL       0x00002000
#define SQLITE_OPEN_SUPER_JOURNAL    0x00004000
#define SQLITE_OPEN_WAL              0x00080000

#define SQLITE_SYNC_NORMAL           0x00002

/* Locks of xLock, flags of xShmLock, kinds of mutex */
#define SQLITE_LOCK_NONE             0
#define SQLITE_LOCK_SHARED           1
#define SQLITE_LOCK_EXCLUSIVE        4
#define SQLITE_SHM_UNLOCK            1
#define SQLITE_SHM_LOCK              2
#define SQLITE_SHM_SHARED            4
#define SQLITE_SHM_EXCLUSIVE         8
#define SQLITE_MUTEX_FAST            0

/* File controls */
#define SQLITE_FCNTL_PERSIST_WAL          10
#define SQLITE_FCNTL_POWERSAFE_OVERWRITE  13
#define SQLITE_FCNTL_PRAGMA               14
#define SQLITE_FCNTL_SYNC                 21
#define SQLITE_FCNTL_COMMIT_PHASETWO      22
#define SQLITE_FCNTL_JOURNAL_POINTER      28
#define SQLITE_FCNTL_PDB                  30

struct sqlite3_file {
  const sqlite3_io_methods *pMethods;  /* Methods for an open file, 0 if not */
};

struct sqlite3_io_methods {
  int iVersion;
  int (*xClose)(sqlite3_file*);
  int (*xRead)(sqlite3_file*, void*, int iAmt, sqlite3_int64 iOfst);
  int (*xWrite)(sqlite3_file*, const void*, int iAmt, sqlite3_int64 iOfst);
  int (*xTruncate)(sqlite3_file*, sqlite3_int64 size);
  int (*xSync)(sqlite3_file*, int flags);
  int (*xFileSize)(sqlite3_file*, sqlite3_int64 *pSize);
  int (*xLock)(sqlite3_file*, int);
  int (*xUnlock)(sqlite3_file*, int);
  int (*xCheckReservedLock)(sqlite3_file*, int *pResOut);
  int (*xFileControl)(sqlite3_file*, int op, void *pArg);
  int (*xSectorSize)(sqlite3_file*);
  int (*xDeviceCharacteristics)(sqlite3_file*);
  /* Methods above are valid for version 1 */
  int (*xShmMap)(sqlite3_file*, int iPg, int pgsz, int, void volatile**);
  int (*xShmLock)(sqlite3_file*, int offset, int n, int flags);
  void (*xShmBarrier)(sqlite3_file*);
  int (*xShmUnmap)(sqlite3_file*, int deleteFlag);
  /* Methods above are valid for version 2 */
  int (*xFetch)(sqlite3_file*, sqlite3_int64 iOfst, int iAmt, void **pp);
  int (*xUnfetch)(sqlite3_file*, sqlite3_int64 iOfst, void *p);
  /* Methods above are valid for version 3 */
};

struct sqlite3_vfs {
  int iVersion;
  int szOsFile;
  int mxPathname;
  sqlite3_vfs *pNext;
  const char *zName;
  void *pAppData;
  int (*xOpen)(sqlite3_vfs*, const char *zName, sqlite3_file*,
               int flags, int *pOutFlags);
  int (*xDelete)(sqlite3_vfs*, const char *zName, int syncDir);
  int (*xAccess)(sqlite3_vfs*, const char *zName, int flags, int *pResOut);
  int (*xFullPathname)(sqlite3_vfs*, const char *zName, int nOut, char *zOut);
  void *(*xDlOpen)(sqlite3_vfs*, const char *zFilename);
  void (*xDlError)(sqlite3_vfs*, int nByte, char *zErrMsg);
  void (*(*xDlSym)(sqlite3_vfs*, void*, const char *zSymbol))(void);
  void (*xDlClose)(sqlite3_vfs*, void*);
  int (*xRandomness)(sqlite3_vfs*, int nByte, char *zOut);
  int (*xSleep)(sqlite3_vfs*, int microseconds);
  int (*xCurrentTime)(sqlite3_vfs*, double*);
  int (*xGetLastError)(sqlite3_vfs*, int, char *);
  /* Methods above are valid for version 1 */
  int (*xCurrentTimeInt64)(sqlite3_vfs*, sqlite3_int64*);
  /* Methods above are valid for version 2 */
  int (*xSetSystemCall)(sqlite3_vfs*, const char *zName, sqlite3_syscall_ptr);
  sqlite3_syscall_ptr (*xGetSystemCall)(sqlite3_vfs*, const char *zName);
  const char *(*xNextSystemCall)(sqlite3_vfs*, const char *zName);
  /* Methods above are valid for version 3 */
};

void *sqlite3_malloc64(sqlite3_uint64);
void *sqlite3_realloc64(void*, sqlite3_uint64);
void sqlite3_free(void*);
sqlite3_mutex *sqlite3_mutex_alloc(int);
void sqlite3_mutex_free(sqlite3_mutex*);
void sqlite3_mutex_enter(sqlite3_mutex*);
void sqlite3_mutex_leave(sqlite3_mutex*);
sqlite3_vfs *sqlite3_vfs_find(const char *zVfsName);
int sqlite3_compileoption_used(const char *zOptName);

/* A VFS of ours whose xGetSystemCall answers this name hands every byte on as it is, wherever it lies in a write. */
#define SEAWAL_HANDS_ON "seawal_hands_on"

int sqlite3_vfs_register(sqlite3_vfs*, int makeDflt);
int sqlite3_vfs_unregister(sqlite3_vfs*);
sqlite3_file *sqlite3_database_file_object(const char*);
const char *sqlite3_filename_journal(const char *zFilename);
const char *sqlite3_create_filename(const char *zDatabase, const char *zJournal, const char *zWal, int nParam, const char **azParam);
void sqlite3_free_filename(const char*);
const char *sqlite3_uri_parameter(const char *zFilename, const char *zParam);
int sqlite3_is_interrupted(sqlite3*);
sqlite3_stmt *sqlite3_next_stmt(sqlite3*, sqlite3_stmt*);
int sqlite3_stmt_busy(sqlite3_stmt*);
const char *sqlite3_sql(sqlite3_stmt*);
int sqlite3_column_count(sqlite3_stmt*);
const char *sqlite3_db_name(sqlite3*, int N);
int sqlite3_txn_state(sqlite3*, const char *zSchema);
int sqlite3_file_control(sqlite3*, const char *zDbName, int op, void*);
int sqlite3_wal_autocheckpoint(sqlite3*, int nFrame);
int sqlite3_wal_checkpoint(sqlite3*, const char *zDb);
void *sqlite3_wal_hook(sqlite3*, int (*)(void*, sqlite3*, const char*, int), void*);
char *sqlite3_mprintf(const char*, ...);
int sqlite3_stricmp(const char*, const char*);
int sqlite3_strnicmp(const char*, const char*, int);
const char *sqlite3_sourceid(void);
const char *sqlite3_libversion(void);
int sqlite3_libversion_number(void);

#include "sqlite_abi_check.h"

#endif /* SEAWAL_SQLITE_ABI_H */
