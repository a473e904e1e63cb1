/*
** The border between slow.c and the Go side (slow.go).
*/
#ifndef SEAWAL_SLOWVFS_SLOW_H
#define SEAWAL_SLOWVFS_SLOW_H

/* Registers a VFS over the default one. zName is copied. Returns an SQLite result code. Call it from
** one thread at a time. */
int seawalSlowRegister(const char *zName, long long nsSync, long long nsRead);

#endif
