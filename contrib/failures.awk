# Out of the output of `cargo test`, what the failing tests said, in short: of each its name, the message of its panic, and
# the newest of each part `---- WHAT ----` that follows it (what a program printed, the log of a daemon), without
# backtraces. Some 40 lines of each test, 200 of all.

function say(text) {
    if (length(text) > 1000) {
        text = substr(text, 1, 600) " [...] " substr(text, length(text) - 380)
    }
    if (said++ < 200) {
        print text
    }
}

# The lines between two, or the first or the last of them.
function beginning(from, to, most,    i) {
    for (i = from; i <= to && i < from + most; i++) {
        say(line[i])
    }
    if (i <= to) {
        say("[" to - i + 1 " lines more]")
    }
}

function end(from, to, most) {
    if (to - from + 1 > most) {
        say("[" to - most + 1 - from " lines before]")
        from = to - most + 1
    }
    for (; from <= to; from++) {
        say(line[from])
    }
}

function tell(    i, panic, parts, each) {
    if (!told) {
        return
    }
    told = 0
    say(name)
    panic = 1
    for (i = lines; i > 0; i--) {
        if (line[i] ~ /^thread .* panicked at /) {
            panic = i
        }
    }
    parts = 0
    for (i = panic + 1; i <= lines; i++) {
        if (line[i] ~ /^---- .* ----$/) {
            start[++parts] = i
        }
    }
    start[parts + 1] = lines + 1
    beginning(panic, start[1] - 1, parts ? 14 : 38)
    each = parts ? int(24 / parts) - 2 : 0
    for (i = 1; i <= parts && i <= 6; i++) {
        say(line[start[i]])
        end(start[i] + 1, start[i + 1] - 1, each < 3 ? 3 : each)
    }
}

/^---- .* stdout ----$/ { tell(); told = 1; name = $0; lines = 0; trace = 0; next }
/^failures:$/ || /^test result: / { tell(); next }
!told || /^$/ || /^----$/ || /^note: run with `RUST_BACKTRACE/ { next }
/^stack backtrace:$/ { trace = 1; next }
trace && (/^ *[0-9]+: / || /^ +at / || /^note: /) { next }
{ trace = 0; line[++lines] = $0 }
END {
    tell()
    if (said > 200) {
        print "[" said - 200 " lines more]"
    }
}
