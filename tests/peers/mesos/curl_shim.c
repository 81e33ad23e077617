/* A libcurl.so.4 whose symbols carry the version CURL_OPENSSL_3, which this
 * build of Mesos asks for; each call goes on to the distribution's libcurl,
 * whose symbols say CURL_OPENSSL_4. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void *real(const char *name) {
  static void *curl;
  if (!curl) curl = dlopen("/lib/x86_64-linux-gnu/libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
  void *symbol = curl ? dlsym(curl, name) : 0;
  if (!symbol) {
    fprintf(stderr, "real-mesos: libcurl has no %s: %s\n", name, dlerror());
    abort();
  }
  return symbol;
}

void *curl_easy_init(void) { return ((void *(*)(void))real("curl_easy_init"))(); }
void curl_easy_cleanup(void *curl) { ((void (*)(void *))real("curl_easy_cleanup"))(curl); }
int curl_easy_perform(void *curl) { return ((int (*)(void *))real("curl_easy_perform"))(curl); }
int curl_global_init(long flags) { return ((int (*)(long))real("curl_global_init"))(flags); }
const char *curl_easy_strerror(int code) {
  return ((const char *(*)(int))real("curl_easy_strerror"))(code);
}

/* Variadic in curl.  On x86-64 every kind of argument that curl takes here fits
 * one integer register, so one pointer-sized parameter carries them all. */
int curl_easy_setopt(void *curl, int option, void *value) {
  return ((int (*)(void *, int, ...))real("curl_easy_setopt"))(curl, option, value);
}
int curl_easy_getinfo(void *curl, int info, void *value) {
  return ((int (*)(void *, int, ...))real("curl_easy_getinfo"))(curl, info, value);
}
