#!/usr/bin/env bash
# Checks the alert rules, their tests, the configuration and the runbooks.
# (remediator.yml is read by the remediator's own tests.)
#
#   alerts/check.sh
#
# promtool and amtool say whether the files are valid and the tests pass. What
# they do not say is whether anything is missing, and that is checked here:
#   * each alert has a test in which it fires and one in which it must not;
#   * each alert has a severity that pages, mails or informs, a summary, a
#     description, and the path of its own runbook;
#   * each alert has a page in docs/runbooks/ and a line in its index, and each
#     page and each line has an alert;
#   * an alert about a host never loses its host (see the header of rules/hosts.yml);
#   * alerts reach the receivers that they are meant for;
#   * each series in a rule is exported: Mesos's are in the exporter's catalogue,
#     Satellite's own in the source of a daemon.
# Every problem is one line on stderr; then the exit is 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

runbooks=../docs/runbooks
problems=0

problem() {
    echo "alerts/check.sh: $*" >&2
    problems=$((problems + 1))
}

for tool in promtool amtool; do
    if ! command -v "$tool" >/dev/null; then
        problem "$tool is missing; on Debian: apt install prometheus prometheus-alertmanager"
    fi
done
[ "$problems" -eq 0 ] || exit 1

# One alert a line, fields separated by tabs:
#   file  alert  severity  remediate  summary?  description?  runbook_url  expression
# The rules are YAML, but written in one way: a key is on a line of its own, at
# the depth that the first file shows. What is written otherwise is not found and
# is reported as missing, so a new style cannot slip through.
list_alerts() {
    awk -v OFS='\t' '
        function flush() {
            if (alert != "") print file, alert, value["severity"], value["remediate"], \
                value["summary"] != "", value["description"] != "", value["runbook_url"], expression
            alert = ""; expression = ""; in_expression = 0; delete value
        }
        FNR == 1 { flush(); file = FILENAME }
        /^ *#/ { next }
        /^      - alert: / { flush(); alert = $3; next }
        alert == "" { next }
        /^        expr: / { sub(/^ *expr: /, ""); expression = $0; in_expression = 1; next }
        in_expression && /^          / { expression = expression " " $0; gsub(/ +/, " ", expression); next }
        { in_expression = 0 }
        match($0, /^          [a-z_]+: /) {
            key = substr($0, 11, RLENGTH - 12); value[key] = substr($0, RLENGTH + 1)
        }
        END { flush() }
    ' rules/*.yml
}

# One expectation a line: the alert, then "fires" or "silent".
list_expectations() {
    awk -v OFS='\t' '
        /^ *#/ { next }
        /^        alertname: / { alert = $2; next }
        /^        exp_alerts: \[\]$/ { print alert, "silent"; next }
        /^        exp_alerts:( [&*][a-z0-9_]+)?$/ { print alert, "fires"; next }
        /exp_alerts:/ { print alert, "unreadable at " FILENAME ":" FNR }
    ' tests/*.yml
}

check_with_tools() {
    must promtool check rules --lint-fatal rules/*.yml
    must promtool check config prometheus.yml
    must amtool check-config alertmanager.yml
    must promtool test rules tests/*.yml
    # promtool is content with a pattern in rule_files that matches nothing.
    local found
    found=$(promtool check config prometheus.yml 2>&1 | grep -cE '^Checking rules/' || true)
    [ "$found" = "$(ls rules | wc -l)" ] || problem "prometheus.yml loads $found of $(ls rules | wc -l) rule files"
}

# What asks for remediation reaches the remediator and people; all else people
# only; the Watchdog the heartbeat only.
check_routes() {
    route_ends_at satellite-remediator,people alertname=HostCheckFailed remediate=host severity=warning
    route_ends_at satellite-remediator,people alertname=TasksLost remediate=cluster severity=critical
    route_ends_at people alertname=RemediatorDown severity=critical
    route_ends_at heartbeat alertname=Watchdog severity=info
}

route_ends_at() {
    must amtool config routes test --config.file=alertmanager.yml --verify.receivers="$1" "${@:2}"
}

# Runs a command, and shows what it said only if it fails.
must() {
    local said
    if ! said=$("$@" 2>&1); then
        echo "$said" >&2
        problem "failed: $*"
    fi
}

check_alerts() {
    local file alert severity remediate has_summary has_description runbook expression
    while IFS=$'\t' read -r file alert severity remediate has_summary has_description runbook expression; do
        case $severity in
            critical | warning | info) ;;
            *) problem "$file: $alert has severity \"$severity\", not critical, warning or info" ;;
        esac
        [ "$has_summary" = 1 ] || problem "$file: $alert has no summary"
        [ "$has_description" = 1 ] || problem "$file: $alert has no description"
        # A prefix is allowed: operators may put the address of their own pages in front.
        case $runbook in
            docs/runbooks/"$alert".md | */docs/runbooks/"$alert".md) ;;
            *) problem "$file: $alert has runbook_url \"$runbook\", not docs/runbooks/$alert.md" ;;
        esac
        case $remediate in
            "-" | cluster) ;;
            host)
                [[ $expression == *'host!=""'* ]] || problem "$file: $alert remediates a host and lacks host!=\"\""
                [[ $expression =~ by\ \([^\)]*host ]] || problem "$file: $alert remediates a host and does not keep the label host"
                ! [[ $expression =~ group_(left|right) ]] || problem "$file: $alert remediates a host and gets it by a join"
                ;;
            *) problem "$file: $alert has remediate \"$remediate\", not host or cluster" ;;
        esac
        check_tested "$file" "$alert"
        [ -s "$runbooks/$alert.md" ] || problem "$file: $alert has no page docs/runbooks/$alert.md"
    done < <(awk -F'\t' -v OFS='\t' '{ for (i = 1; i <= NF; i++) if ($i == "") $i = "-"; print }' <<<"$alerts")
}

check_tested() {
    local file=$1 alert=$2
    grep -qxF "$alert"$'\t'fires <<<"$expectations" || problem "$file: no test makes $alert fire"
    # The Watchdog fires whatever happens: there is no input that could silence it.
    if [ "$alert" != Watchdog ]; then
        grep -qxF "$alert"$'\t'silent <<<"$expectations" || problem "$file: no test in which $alert must not fire"
    fi
}

# What the listings above did not understand must not pass for checked.
check_nothing_was_overlooked() {
    local written listed
    written=$(cat rules/*.yml | grep -vE '^ *#' | grep -cE '\balert["'\'']?:' || true)
    listed=$(wc -l <<<"$alerts")
    [ "$written" = "$listed" ] || problem "rules/: $written alerts are written and $listed were read; keep to the layout of the files"
    local repeated
    repeated=$(cut -f2 <<<"$alerts" | sort | uniq -d)
    [ -z "$repeated" ] || problem "rules/: several alerts are named" $repeated
    local unreadable
    unreadable=$(grep unreadable <<<"$expectations" || true)
    [ -z "$unreadable" ] || problem "tests/: exp_alerts is neither [] nor a list below it: $unreadable"
}

check_runbooks() {
    local page name names
    names=$(cut -f2 <<<"$alerts")
    for page in "$runbooks"/*.md; do
        name=$(basename "$page" .md)
        [ "$name" = README ] && continue
        grep -qxF "$name" <<<"$names" || problem "docs/runbooks/$name.md: no alert has this name"
        grep -qF "]($name.md)" "$runbooks/README.md" || problem "docs/runbooks/README.md: does not list $name"
    done
    for name in $(grep -oE '\]\([A-Za-z]+\.md\)' "$runbooks/README.md" | sed -E 's/^\]\(|\.md\)$//g'); do
        grep -qxF "$name" <<<"$names" || problem "docs/runbooks/README.md: lists $name, and no alert has this name"
    done
}

# A rule over a series that nobody exports is silent for ever.
check_series() {
    local exported name
    exported=$(cut -d, -f3 ../exporter/src/catalogue.csv)
    for name in $(cut -f8 <<<"$alerts" | grep -oE '\bmesos_[a-z0-9_]+' | sort -u); do
        grep -qxF "$name" <<<"$exported" || problem "rules/: $name is not in exporter/src/catalogue.csv"
    done
    for name in $(cut -f8 <<<"$alerts" | grep -oE '\bsatellite_[a-z0-9_]+' | sort -u); do
        grep -rqF "\"$name\"" ../exporter/src ../remediator/src ../crates/toolkit/src ||
            problem "rules/: no source file of a daemon has $name"
    done
}

alerts=$(list_alerts)
expectations=$(list_expectations)

check_with_tools
check_routes
check_alerts
check_nothing_was_overlooked
check_series
check_runbooks

if [ "$problems" -gt 0 ]; then
    echo "alerts/check.sh: $problems problem(s)" >&2
    exit 1
fi
echo "alerts/check.sh: $(wc -l <<<"$alerts") alerts, $(wc -l <<<"$expectations") expectations: all well"
