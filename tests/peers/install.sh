#!/bin/bash
# Installs the real peers that the tests and the demo run against, and only what
# is missing: a second call changes nothing and takes well under a second.
#
#   tests/peers/install.sh           Debian 12, x86-64; as root, or with the packages there
#
# From Debian: Prometheus, Alertmanager, ZooKeeper, and what Mesos needs to load.
# From PyPI:   Mesos 1.11.0, which sits whole in the package mesos.scheduler, and
#              OpenSSL 1.0.2, which that build of Mesos asks for, out of an old wheel.
# Result:      $CARGO_TARGET_DIR/peers (default: target/peers). Nothing is started.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$here/../../target}")
peers=$target/peers

packages=(
  prometheus prometheus-alertmanager zookeeper default-jre-headless
  libsvn1 libapr1 libsasl2-2 libsasl2-modules libcurl4 zlib1g # what libmesos is linked to
  gcc g++ patchelf                                            # build the launcher
  python3 python3-venv                                        # pip, the framework, the executor
)
mesos_package='mesos.scheduler===1.11.0.linux-x86_64'
openssl_package='psycopg2-binary==2.7.7'
# What these packages were when the tests were written: nothing else is run.
mesos_sha256=84d7ee9af27e912636b139de40257df1ee4f56c201de6bba834278aa1e8fd64c
libssl_sha256=a14d404abb0b6662207258b66f6aecbf31a12c2a69b6cc2b9294cc8b2eada65d
libcrypto_sha256=60db650acf8d1b6681a022c4e4542d41eac4ac067a0fa02b7541b354c6a0eec6

say() { printf 'peers: %4ds  %s\n' "$SECONDS" "$*"; }
die() {
  printf 'peers: %s\n' "$@" >&2
  exit 1
}

check_system() {
  [ "$(uname -sm)" = 'Linux x86_64' ] ||
    die "the real peers need Linux on x86-64 (Mesos is taken from a binary package); this is $(uname -sm)"
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    die 'the real peers are Debian 12 packages, and apt-get is not here: run this on Debian 12, in a container of it for instance'
}

missing_packages() {
  local installed package
  installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true)
  for package in "${packages[@]}"; do
    grep -q "^$package installed$" <<<"$installed" || printf '%s\n' "$package"
  done
}

# Debian starts a daemon as soon as its package is installed. Ours are started by
# the tests, on ports of their own, so the installation is told to start none:
# policy-rc.d for now, `systemctl disable` for the next boot. A policy that is
# there already (container images have one) is left alone.
install_packages() {
  local policy=/usr/sbin/policy-rc.d package
  local apt_options=(-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  export DEBIAN_FRONTEND=noninteractive
  if [ ! -e "$policy" ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  {
    apt-get update -q "${apt_options[@]}" &&
      apt-get install -y -q --no-install-recommends "${apt_options[@]}" "$@"
  } >"$peers/apt.log" 2>&1 || {
    tail -n 20 "$peers/apt.log" >&2
    die "apt-get failed (above: the end of $peers/apt.log)"
  }
  if [ -d /run/systemd/system ]; then
    for package in prometheus prometheus-alertmanager; do
      case " $* " in *" $package "*) systemctl disable --quiet "$package" || true ;; esac
    done
  fi
}

# Leaves the two inputs in $1: libmesos-1.11.0.so and the folder openssl/.
fetch() {
  local into=$1 scratch=$1/scratch module
  mkdir -p "$scratch"
  python3 -m venv "$into/venv"
  # A "dumb" distribution: pip unpacks it, then gives up for want of a setup.py,
  # and --no-clean keeps the tree. Hence the failure that does not count.
  TMPDIR=$scratch "$into/venv/bin/pip" download --no-deps --no-clean -d "$scratch" "$mesos_package" \
    >"$scratch/pip.log" 2>&1 || true
  module=$(find "$scratch" -name _scheduler.so -print -quit)
  [ -n "$module" ] || {
    cat "$scratch/pip.log" >&2
    die "pip did not get $mesos_package (above: what it said)"
  }
  mv "$module" "$into/libmesos-1.11.0.so"
  "$into/venv/bin/pip" download -q --disable-pip-version-check --no-deps --only-binary :all: \
    --python-version 27 --implementation cp --abi cp27mu --platform manylinux1_x86_64 \
    -d "$scratch" "$openssl_package"
  python3 -m zipfile -e "$scratch"/psycopg2_binary-*.whl "$scratch/wheel"
  mv "$scratch/wheel/psycopg2/.libs" "$into/openssl"
  sha256sum --check --status <<SUMS || die "the PyPI packages are not the ones these tests were written with"
$mesos_sha256  $into/libmesos-1.11.0.so
$libssl_sha256  $(echo "$into"/openssl/libssl-*)
$libcrypto_sha256  $(echo "$into"/openssl/libcrypto-*)
SUMS
}

# Builds bin/, lib/ and libexec/ in $1 from what fetch left there and our sources.
build() {
  local into=$1 source=$here/mesos library
  mkdir -p "$into/bin" "$into/lib" "$into/libexec"
  mv "$into/libmesos-1.11.0.so" "$into/lib/"
  cp "$into"/openssl/libssl-* "$into/lib/libssl.so.1.0.0"
  cp "$into"/openssl/libcrypto-* "$into/lib/libcrypto.so.1.0.0"
  for library in krb5 gssapi_krb5 k5crypto com_err krb5support keyutils z selinux sepol; do
    cp "$into"/openssl/lib"$library"-*.so* "$into/lib/"
  done
  chmod u+w "$into"/lib/*
  # Two calls: patchelf 0.14 mixes the two strings up when both are given at once.
  patchelf --set-soname libssl.so.1.0.0 "$into/lib/libssl.so.1.0.0"
  patchelf --replace-needed "$(basename "$into"/openssl/libcrypto-*)" libcrypto.so.1.0.0 "$into/lib/libssl.so.1.0.0"
  patchelf --set-soname libcrypto.so.1.0.0 "$into/lib/libcrypto.so.1.0.0"
  gcc -O1 -Wall -shared -fPIC -Wl,-soname,libcurl.so.4 -Wl,--version-script="$source/curl_shim.map" \
    -o "$into/lib/libcurl.so.4" "$source/curl_shim.c" -ldl
  g++ -std=c++17 -O1 -Wall -Wno-attributes -shared -fPIC -o "$into/lib/libmesos-launch.so" "$source/launch.cpp" \
    -L"$into/lib" -l:libmesos-1.11.0.so -Wl,--allow-shlib-undefined -Wl,-z,lazy -Wl,--version-script="$source/launch.map"
  # RPATH rather than RUNPATH: it also holds for the libraries of libraries, so
  # executors, whose environment Mesos makes itself, need no LD_LIBRARY_PATH.
  # shellcheck disable=SC2016  # $ORIGIN is the dynamic linker's
  gcc -O1 -rdynamic -Wl,--disable-new-dtags -Wl,-rpath,'$ORIGIN/../lib' \
    -o "$into/bin/mesos-real" "$source/launcher.c" "$source/python_stubs.c" -ldl
  ln -s mesos-real "$into/bin/mesos-master"
  ln -s mesos-real "$into/bin/mesos-agent"
  ln -s ../bin/mesos-real "$into/libexec/mesos-containerizer"
  install -m 755 "$source/mesos-executor" "$into/libexec/"
  ln -s mesos-executor "$into/libexec/mesos-default-executor"
  rm -rf "$into/scratch" "$into/venv" "$into/openssl"
}

check_system
mkdir -p "$peers"
exec 9>"$peers/lock" # held until this script ends: two runs at once take turns
flock 9

mapfile -t missing < <(missing_packages)
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] ||
    die 'Debian packages are missing; as root, or yourself with sudo, run:' \
      "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
  say "apt-get install ${missing[*]}"
  install_packages "${missing[@]}"
fi

# The stamp is the digest of everything that Mesos is made of here.
stamp=$(cat "$here"/mesos/* "${BASH_SOURCE[0]}" | sha256sum)
if [ "$(cat "$peers/mesos/stamp" 2>/dev/null)" != "$stamp" ]; then
  fresh=$peers/mesos.fresh # made aside and moved in whole: a half is never used
  rm -rf "$fresh"
  say 'Mesos 1.11.0 and OpenSSL 1.0.2 from PyPI (30 MB)'
  fetch "$fresh"
  say 'building the Mesos launcher'
  build "$fresh"
  echo "$stamp" >"$fresh/stamp"
  rm -rf "$peers/mesos"
  mv "$fresh" "$peers/mesos"
fi
say "ready in $peers"
