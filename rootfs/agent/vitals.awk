# Prints what /proc/stat counts now, for the next time, then how the node does as one line of JSON. What a machine does not
# have, or does not tell, is left out.

# first PATH: the first line of a file, or nothing.
function first(path,    line) {
    line = ""
    if ((getline line < path) <= 0) line = ""
    close(path)
    return line
}

# It becomes JSON without any quoting.
function plain(text) {
    gsub(/[^A-Za-z0-9._:@-]/, "", text)
    return text
}

function add(key, value) {
    report = report (report == "" ? "" : ",") "\"" key "\":" value
}

function whole(number) {
    return sprintf("%.0f", number)
}

# The share of each core since the last time; `counted` is total and idle time of each.
function processors(    line, words, count, old, then, core, total, idle, field, shares) {
    count = split(before, old, " ")
    core = 0
    while ((getline line < (proc "/stat")) > 0) {
        if (line !~ /^cpu/) break
        if (line !~ /^cpu[0-9]/) continue
        split(line, words, " ")
        # Time of guests is in user and nice already (proc_stat(5)).
        total = 0
        for (field = 2; field <= 9; field++) total += words[field]
        idle = words[5] + words[6]
        # A core that came or went in between has moved all that are behind it.
        if (old[3 * core + 1] == words[1] && total > old[3 * core + 2]) {
            then = 100 - 100 * (idle - old[3 * core + 3]) / (total - old[3 * core + 2])
            # Idle time of a core may be counted backwards by the kernel.
            if (then < 0) then = 0
            if (then > 100) then = 100
            shares = shares (shares == "" ? "" : ",") whole(then)
        } else if (count > 0) {
            shares = shares (shares == "" ? "" : ",") "null"
        }
        counted = counted words[1] " " whole(total) " " whole(idle) " "
        core++
    }
    close(proc "/stat")
    if (shares != "") add("cpu", "[" shares "]")
}

function memory(    line, words) {
    while ((getline line < (proc "/meminfo")) > 0) {
        split(line, words, " ")
        amount[words[1]] = words[2] * 1024
        if (words[1] == "MemAvailable:") break
    }
    close(proc "/meminfo")
    if ("MemAvailable:" in amount) {
        add("memory", "{\"totalBytes\":" whole(amount["MemTotal:"]) ",\"availableBytes\":" whole(amount["MemAvailable:"]) "}")
    }
}

# Of the fastest of up to 8 groups of cores, which have one each.
function frequency(    list, count, at, now, fastest) {
    fastest = 0
    count = split(policies, list, " ")
    for (at = 1; at <= count && at <= 8; at++) {
        now = first(list[at] "/scaling_cur_freq")
        if (now ~ /^[0-9]+$/ && now + 0 > fastest) fastest = now + 0
    }
    if (fastest > 0) add("frequencyMHz", whole(fastest / 1000))
}

# Of the processor: a zone of that name, else a sensor chip of it, else whatever the firmware calls a zone.
function temperature(    list, count, at, kind, rank, value, best) {
    count = split(sensors, list, " ")
    best = 9
    for (at = 1; at <= count && at <= 32; at++) {
        if (list[at] ~ /thermal_zone[^\/]*$/) {
            kind = first(list[at] "/type")
            rank = kind ~ /cpu|soc|pkg/ ? 1 : 3
            if (rank >= best) continue
            value = first(list[at] "/temp")
        } else {
            kind = first(list[at] "/name")
            if (kind == "rpi_volt") volt = list[at]
            rank = kind ~ /^(cpu_thermal|coretemp|k10temp|zenpower)$/ ? 2 : 9
            if (rank >= best) continue
            value = first(list[at] "/temp1_input")
        }
        if (value ~ /^-?[0-9]+$/) {
            best = rank
            hot = value
        }
    }
    if (best < 9) add("temperatureCelsius", sprintf("%.1f", hot / 1000))
}

# Kernels of Raspberry Pi OS have the firmware's own bits; those of Debian only tell whether the voltage was too low in the
# last two seconds (raspberrypi-hwmon.c), which is bit 0 of the same. The first reading of the former is a warning of the
# kernel's, which must not be what stops a node.
function throttling(    bits) {
    if (first(proc "/sys/kernel/panic_on_warn") == "0") {
        bits = first(firmware)
        if (bits ~ /^[0-9a-f]+$/) {
            add("throttled", "{\"from\":\"firmware\",\"bits\":" whole(hexadecimal(bits)) "}")
            return
        }
    }
    if (volt != "") {
        bits = first(volt "/in0_lcrit_alarm")
        if (bits ~ /^[01]$/) add("throttled", "{\"from\":\"hwmon\",\"bits\":" bits "}")
    }
}

function hexadecimal(text,    value, place) {
    for (place = 1; place <= length(text); place++) value = value * 16 + index("0123456789abcdef", substr(text, place, 1)) - 1
    return value
}

# Lines of `stat -f`: path, block size, blocks, free ones, and those that others than root may have.
function space(    list, count, at, words, name, text) {
    count = split(use, list, "\n")
    for (at = 1; at <= count; at++) {
        if (split(list[at], words, " ") != 5) continue
        name = words[1] ~ /\/root$/ ? "root" : words[1] ~ /data$/ ? "data" : "overlay"
        text = text (text == "" ? "" : ",") "\"" name "\":{\"usedBytes\":" whole((words[3] - words[4]) * words[2]) \
            ",\"availableBytes\":" whole(words[5] * words[2]) "}"
    }
    if (text != "") add("disks", "{" text "}")
}

function network(    list, count, at, name, wanted, line, words, text) {
    count = split(nics, list, " ")
    for (at = 1; at <= count; at++) {
        name = list[at]
        sub(/\/device$/, "", name)
        sub(/.*\//, "", name)
        wanted[name] = 1
    }
    count = 0
    while ((getline line < (proc "/net/dev")) > 0) {
        sub(/:/, " ", line)
        split(line, words, " ")
        if (!(words[1] in wanted) || count == 16) continue
        count++
        text = text (text == "" ? "" : ",") "\"" plain(words[1]) "\":{\"receivedBytes\":" whole(words[2]) ",\"receivedPackets\":" whole(words[3]) \
            ",\"sentBytes\":" whole(words[10]) ",\"sentPackets\":" whole(words[11]) "}"
    }
    close(proc "/net/dev")
    if (text != "") add("network", "{" text "}")
}

BEGIN {
    add("hostname", "\"" plain(first(proc "/sys/kernel/hostname")) "\"")
    split(first(proc "/uptime"), words, " ")
    add("uptimeSeconds", whole(words[1]))
    split(first(proc "/loadavg"), words, " ")
    add("load", "[" words[1] + 0 "," words[2] + 0 "," words[3] + 0 "]")
    processors()
    memory()
    frequency()
    temperature()
    throttling()
    space()
    network()
    print counted
    print "{" report "}"
}
