# Completion of vmwire for fish: what may follow is asked of vmwire itself.

function __vmwire_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l found (command $words[1] complete -- $words "$current" 2>/dev/null)
    switch "$found[1]"
        case ':files*'
            __fish_complete_path "$current"
        case ':directories*'
            __fish_complete_directories "$current" ''
        case '?*'
            printf '%s\n' $found
    end
end

complete -c vmwire -f -a '(__vmwire_complete)'
