# Sourced by the figures' scripts: the activity of one network in one trial, after the figure.
#   source activity.sh MODULE "$@"
# The figure's flags: --profile and --data embedded are passed on, --help ends here.
module="$1"
shift
passed_on=()
while (($#)); do
    case "$1" in
    --help | -h) exit ;;
    --profile=* | --data=embedded) passed_on+=("$1") ;;
    --profile) passed_on+=("$1" "$2") ;;
    --data) [[ "$2" != embedded ]] || passed_on+=("$1" "$2") ;;
    esac
    shift
done
exec "$PYTHON" -m "hebbian_snn.$module" ${passed_on[@]+"${passed_on[@]}"}
