/* The executable behind mesos-master, mesos-agent and mesos-containerizer.
 *
 * It opens lib/libmesos-launch.so, which drags in the real libmesos, and calls
 * its entry point.  dlopen rather than direct linking, so that the loader stays
 * silent about the OpenSSL 1.0 libraries, which carry no symbol versions. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv) {
  void *library = dlopen("libmesos-launch.so", RTLD_LAZY | RTLD_GLOBAL);
  if (!library) {
    fprintf(stderr, "real-mesos: %s\n", dlerror());
    return 127;
  }
  int (*entry)(int, char **) = (int (*)(int, char **))dlsym(library, "real_mesos_main");
  if (!entry) {
    fprintf(stderr, "real-mesos: %s\n", dlerror());
    return 127;
  }
  return entry(argc, argv);
}
