/*
 * version: the version of the program, as `millrace version`, /version and sys.version say it.
 */
#ifndef MILLRACE_VERSION_H
#define MILLRACE_VERSION_H

#define MILLRACE_VERSION "0.2.0"

#endif
