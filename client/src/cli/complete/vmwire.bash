# shellcheck shell=bash
# Completion of vmwire for bash: what may follow is asked of vmwire itself.

_vmwire() {
    local program=${1/#\~/$HOME} line=$COMP_LINE rest word before='' i
    local -a words=() found=()
    # bash splits words at = and : too. They are put together again where no space is between them, and of what is found
    # only what stands behind the last such character is put in.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        rest=${line#"${line%%[![:space:]]*}"}
        if ((i == COMP_CWORD)); then
            [[ $word == *[!=:]* || -z $word ]] && word=$2
        fi
        if ((i > 0)) && [[ $rest == "$line" && -n $line ]]; then
            before=${words[-1]}
            words[-1]+=$word
        else
            before=''
            words+=("$word")
        fi
        [[ $word == *[!=:]* || -z $word ]] || before=${words[-1]}
        line=${rest#"${COMP_WORDS[i]}"}
    done
    before=${before//[\'\"\\]/}
    mapfile -t found < <(command "$program" complete -- "${words[@]//[\'\"\\]/}" 2>/dev/null)
    found=("${found[@]%%$'\t'*}")
    COMPREPLY=()
    case ${found[0]-} in
        :files)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$2")
            ;;
        :directories)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$2")
            ;;
        ?*)
            COMPREPLY=("${found[@]#"$before"}")
            [[ ${found[0]} != *= ]] || compopt -o nospace
            ;;
    esac
}

complete -F _vmwire vmwire
