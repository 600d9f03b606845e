#compdef vmwire
# Completion of vmwire for zsh: what may follow is asked of vmwire itself.

_vmwire() {
    local line
    local -a found plain open
    found=("${(@f)$(command ${(Q)words[1]} complete -- "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    case ${found[1]%%$'\t'*} in
        :files) _files; return ;;
        :directories) _files -/; return ;;
        '') return 1 ;;
    esac
    for line in "${found[@]}"; do
        # A colon ends the value for _describe.
        local value=${${line%%$'\t'*}//:/\\:} help=${line#*$'\t'}
        if [[ $value == *= ]]; then open+=("$value:$help"); else plain+=("$value:$help"); fi
    done
    _describe -V vmwire plain -- open -S ''
}

if [[ ${funcstack[1]} == _vmwire ]]; then _vmwire "$@"; else compdef _vmwire vmwire; fi
