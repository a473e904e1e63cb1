/*
** The border between power.c and the Go side (power.go).
**
** Every function may be called from any thread. A PowerVfs is never freed; what seawalPowerOp()
** points at lives until seawalPowerReset().
*/
#ifndef SEAWAL_POWERVFS_POWER_H
#define SEAWAL_POWERVFS_POWER_H

#include "sqlite_abi.h"

/* What was done to the disk. */
#define POWER_OPEN      1     /* A file was opened; pData: what was in it before */
#define POWER_CREATE    2     /* A file was made; iArg: 1 if its first sync syncs the folder too */
#define POWER_WRITE     3     /* pData at iArg */
#define POWER_TRUNCATE  4     /* To iArg bytes */
#define POWER_SYNC      5     /* The file */
#define POWER_DELETE    6     /* iArg: 1 if the folder was synced */
#define POWER_FOLDER    7     /* Somebody else synced the folder */

typedef struct PowerVfs PowerVfs;

typedef struct PowerOp PowerOp;
struct PowerOp {
  int eOp;                    /* POWER_OPEN and so on */
  int nData;                  /* Bytes at pData */
  sqlite3_int64 iArg;         /* See above */
  const char *zName;          /* Full path of the file */
  unsigned char *pData;       /* See above; 0 for none */
};

/* Registers a VFS over the default one, for the life of the process. */
int seawalPowerRegister(const char *zName, PowerVfs **pp);

/* Forgets everything, and power is on. No file may be open. */
void seawalPowerReset(PowerVfs*);

/* The power fails at the nCall-th change from now, which may reach the disk in part; 0: never. */
void seawalPowerFailAt(PowerVfs*, sqlite3_int64 nCall);
void seawalPowerOff(PowerVfs*);
int seawalPowerIsOff(PowerVfs*);

/* Somebody else has synced a file. One that was never opened here is none of ours. */
void seawalPowerSynced(PowerVfs*, const char *zName);

/* Somebody else has synced the folder of the files. */
void seawalPowerFolder(PowerVfs*);

/* The i-th thing that was done, from 0. Returns 0 behind the last one. */
int seawalPowerOp(PowerVfs*, sqlite3_int64 i, PowerOp *pOut);

#endif
