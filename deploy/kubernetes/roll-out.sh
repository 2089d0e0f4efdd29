#!/bin/sh
# Migrates the database and rolls out an overlay. Stops at the first step that fails, with an exit code other than 0.
#
#     deploy/kubernetes/roll-out.sh deploy/kubernetes/overlays/production
#
# The second argument is the directory of the migration (default: migrate, in the directory of this script).
set -eu

overlay=${1:?name the directory of the overlay to roll out}
migrate=${2:-$(dirname "$0")/migrate}
namespace=saldo
job=saldo-migrate
# Slightly more than the Job's activeDeadlineSeconds, after which the Job fails.
polls_max=1900
poll_seconds=2

kubectl delete job "$job" --namespace "$namespace" --ignore-not-found
kubectl apply -k "$migrate"

# `kubectl wait --for=condition=complete` continues to wait if the Job has failed.
ended=
polls=0
while [ -z "$ended" ] && [ "$polls" -lt "$polls_max" ]; do
    conditions=$(kubectl get job "$job" --namespace "$namespace" \
        --output 'jsonpath={.status.conditions[?(@.status=="True")].type}') || conditions=
    case " $conditions " in
        *" Complete "*) ended=complete ;;
        *" Failed "*) ended=failed ;;
        *) polls=$((polls + 1)); sleep "$poll_seconds" ;;
    esac
done
kubectl logs --namespace "$namespace" --selector "job-name=$job" --prefix --tail=200 || true
if [ "$ended" != complete ]; then
    kubectl describe job "$job" --namespace "$namespace" >&2 || true
    echo "The migration ${ended:-has not ended in time}: nothing was rolled out." >&2
    exit 1
fi

kubectl apply -k "$overlay"
kubectl rollout status --namespace "$namespace" --timeout=15m deployment/saldo
kubectl rollout status --namespace "$namespace" --timeout=15m deployment/saldo-relay
