/*
** The part of SQLite's public C interface that the shim uses.
**
** The program links one SQLite, the one inside go-sqlite3, and its header is
** not on our include path. SQLite promises that these declarations
** never change (sqlite.org/capi3ref.html), and the asserts at the end of this
** file stop the build where a compiler lays them out in another way.
*/
#ifndef SEAWAL_SQLITE_ABI_H
#define SEAWAL_SQLITE_ABI_H

#include <stddef.h>

typedef long long sqlite3_int64;
typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
typedef struct sqlite3_file sqlite3_file;
typedef struct sqlite3_io_methods sqlite3_io_methods;
typedef struct sqlite3_vfs sqlite3_vfs;
typedef struct sqlite3_stmt sqlite3_stmt;
typedef void (*sqlite3_syscall_ptr)(void);

struct sqlite3_file {
  const sqlite3_io_methods *pMethods;
};

struct sqlite3_io_methods {
  int iVersion;
  int (*xClose)(sqlite3_file*);
  int (*xRead)(sqlite3_file*, void*, int, sqlite3_int64);
  int (*xWrite)(sqlite3_file*, const void*, int, sqlite3_int64);
  int (*xTruncate)(sqlite3_file*, sqlite3_int64);
  int (*xSync)(sqlite3_file*, int);
  int (*xFileSize)(sqlite3_file*, sqlite3_int64*);
  int (*xLock)(sqlite3_file*, int);
  int (*xUnlock)(sqlite3_file*, int);
  int (*xCheckReservedLock)(sqlite3_file*, int*);
  int (*xFileControl)(sqlite3_file*, int, void*);
  int (*xSectorSize)(sqlite3_file*);
  int (*xDeviceCharacteristics)(sqlite3_file*);
  /* version 2 */
  int (*xShmMap)(sqlite3_file*, int, int, int, void volatile**);
  int (*xShmLock)(sqlite3_file*, int, int, int);
  void (*xShmBarrier)(sqlite3_file*);
  int (*xShmUnmap)(sqlite3_file*, int);
  /* version 3 */
  int (*xFetch)(sqlite3_file*, sqlite3_int64, int, void**);
  int (*xUnfetch)(sqlite3_file*, sqlite3_int64, void*);
};

struct sqlite3_vfs {
  int iVersion;
  int szOsFile;
  int mxPathname;
  sqlite3_vfs *pNext;
  const char *zName;
  void *pAppData;
  int (*xOpen)(sqlite3_vfs*, const char*, sqlite3_file*, int, int*);
  int (*xDelete)(sqlite3_vfs*, const char*, int);
  int (*xAccess)(sqlite3_vfs*, const char*, int, int*);
  int (*xFullPathname)(sqlite3_vfs*, const char*, int, char*);
  void *(*xDlOpen)(sqlite3_vfs*, const char*);
  void (*xDlError)(sqlite3_vfs*, int, char*);
  void (*(*xDlSym)(sqlite3_vfs*, void*, const char*))(void);
  void (*xDlClose)(sqlite3_vfs*, void*);
  int (*xRandomness)(sqlite3_vfs*, int, char*);
  int (*xSleep)(sqlite3_vfs*, int);
  int (*xCurrentTime)(sqlite3_vfs*, double*);
  int (*xGetLastError)(sqlite3_vfs*, int, char*);
  /* version 2 */
  int (*xCurrentTimeInt64)(sqlite3_vfs*, sqlite3_int64*);
  /* version 3 */
  int (*xSetSystemCall)(sqlite3_vfs*, const char*, sqlite3_syscall_ptr);
  sqlite3_syscall_ptr (*xGetSystemCall)(sqlite3_vfs*, const char*);
  const char *(*xNextSystemCall)(sqlite3_vfs*, const char*);
};

#define SQLITE_OK               0
#define SQLITE_ERROR            1
#define SQLITE_BUSY             5
#define SQLITE_NOMEM            7
#define SQLITE_NOTFOUND        12
#define SQLITE_IOERR           10
#define SQLITE_IOERR_SHORT_READ (SQLITE_IOERR | (2<<8))

#define SQLITE_OPEN_MAIN_DB    0x00000100
#define SQLITE_OPEN_WAL        0x00080000

#define SQLITE_LOCK_NONE        0
#define SQLITE_LOCK_SHARED      1
#define SQLITE_LOCK_EXCLUSIVE   4

#define SQLITE_FCNTL_PERSIST_WAL       10
#define SQLITE_FCNTL_PRAGMA            14
#define SQLITE_FCNTL_COMMIT_PHASETWO   22
#define SQLITE_FCNTL_PDB               30

#define SQLITE_SHM_UNLOCK       1
#define SQLITE_SHM_LOCK         2
#define SQLITE_SHM_SHARED       4
#define SQLITE_SHM_EXCLUSIVE    8

int sqlite3_libversion_number(void);
const char *sqlite3_libversion(void);
sqlite3_vfs *sqlite3_vfs_find(const char*);
int sqlite3_vfs_register(sqlite3_vfs*, int);
sqlite3_file *sqlite3_database_file_object(const char*);
const char *sqlite3_uri_parameter(const char*, const char*);
int sqlite3_is_interrupted(sqlite3*);
sqlite3_stmt *sqlite3_next_stmt(sqlite3*, sqlite3_stmt*);
int sqlite3_wal_autocheckpoint(sqlite3*, int);
int sqlite3_stmt_busy(sqlite3_stmt*);
int sqlite3_file_control(sqlite3*, const char*, int, void*);
int sqlite3_wal_checkpoint(sqlite3*, const char*);
void *sqlite3_wal_hook(sqlite3*, int (*)(void*, sqlite3*, const char*, int), void*);
char *sqlite3_mprintf(const char*, ...);
int sqlite3_stricmp(const char*, const char*);

/* Pointers and longs of 8 bytes: the platforms that Go's cgo and this shim
** share. Anything else wants a look at every offset below first. */
_Static_assert(sizeof(void*)==8 && sizeof(int)==4, "seawal needs an LP64 platform");
_Static_assert(sizeof(sqlite3_io_methods)==19*8, "sqlite3_io_methods");
_Static_assert(offsetof(sqlite3_io_methods, xFileControl)==10*8, "xFileControl");
_Static_assert(offsetof(sqlite3_io_methods, xShmLock)==14*8, "xShmLock");
_Static_assert(offsetof(sqlite3_io_methods, xUnfetch)==18*8, "xUnfetch");
_Static_assert(offsetof(sqlite3_vfs, xOpen)==40, "xOpen");
_Static_assert(offsetof(sqlite3_vfs, xNextSystemCall)==40+15*8, "xNextSystemCall");

#endif
