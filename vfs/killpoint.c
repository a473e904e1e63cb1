/*
** With the build tag seawal_killpoints: the environment SEAWAL_KILL="name:n" ends the
** process at the n-th arrival at a point.
*/
#ifdef SEAWAL_KILLPOINTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "killpoint.h"

void seawal_killpoint(const char *zName){
  static int nHit = 0;                      /* arrivals at the point that is named; atomic */
  const char *zPlan = getenv("SEAWAL_KILL");
  size_t n = strlen(zName);
  int nAfter = 1;
  if( zPlan==0 || strncmp(zPlan, zName, n)!=0 || (zPlan[n]!=':' && zPlan[n]!=0) ) return;
  if( zPlan[n]==':' ) nAfter = atoi(&zPlan[n+1]);
  if( __atomic_add_fetch(&nHit, 1, __ATOMIC_SEQ_CST)==nAfter ) kill(getpid(), SIGKILL);
}
#else
typedef int seawal_killpoint_unused;        /* ISO C has no empty source files */
#endif
