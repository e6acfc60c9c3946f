#!/bin/sh
# Makes the secrets that docker-compose.yml mounts, where they are missing: the token between Alertmanager and the
# optimizer, and Grafana's first admin password. Existing ones are kept.
set -eu
dir=${1:-$(dirname "$0")/../secrets}

# Compose mounts a secret with the owner and mode of the file, and the containers run under different users without any
# right to override modes. So the files are readable, and the directory above them keeps everybody else on the host out.
mkdir -p "$dir"
chmod 0700 "$dir"
for name in webhook-token grafana-admin-password; do
    file=$dir/$name
    if [ -s "$file" ]; then
        continue
    fi
    # Under another name first: a run that is cut short leaves no half secret.
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$file.new"
    chmod 0444 "$file.new"
    mv "$file.new" "$file"
    echo "made $file"
done
