/*
** With the build tag seawal_killpoints: the environment SEAWAL_KILL="name:n" ends the
** process at the n-th arrival at a point. SEAWAL_KILL_LOG names a file to which each arrival is appended.
*/
#ifdef SEAWAL_KILLPOINTS
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "killpoint.h"

static void logArrival(const char *zLog, const char *zName){
  char zLine[128];
  int fd = open(zLog, O_WRONLY|O_APPEND|O_CREAT|O_CLOEXEC, 0644);
  int n = snprintf(zLine, sizeof(zLine), "%s\n", zName);
  if( fd<0 || n>=(int)sizeof(zLine) || write(fd, zLine, (size_t)n)!=n ) abort();
  close(fd);
}

void seawal_killpoint(const char *zName){
  static int nHit = 0;                      /* arrivals at the point that is named; atomic */
  const char *zPlan = getenv("SEAWAL_KILL");
  size_t n = strlen(zName);
  int nAfter = 1;
  const char *zLog = getenv("SEAWAL_KILL_LOG");
  if( zLog && zLog[0] ) logArrival(zLog, zName);
  if( zPlan==0 || strncmp(zPlan, zName, n)!=0 || (zPlan[n]!=':' && zPlan[n]!=0) ) return;
  if( zPlan[n]==':' ) nAfter = atoi(&zPlan[n+1]);
  if( __atomic_add_fetch(&nHit, 1, __ATOMIC_SEQ_CST)==nAfter ) kill(getpid(), SIGKILL);
}
#else
typedef int seawal_killpoint_unused;        /* ISO C has no empty source files */
#endif
