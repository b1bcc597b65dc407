# shell: /bin/sh
# needs: git=git
# init, commit, branch, merge, clone, gc, fsck.
set -eu
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
export HOME=$d GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@x GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@x
export GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-01T00:00:00Z' GIT_CONFIG_NOSYSTEM=1
git init -q -b main repo; cd repo
i=0; while [ $i -lt 60 ]; do mkdir -p "d$((i % 7))"; echo "file $i" > "d$((i % 7))/f$i"; i=$((i+1)); done
git add .; git commit -q -m first; git rev-parse HEAD
i=0; while [ $i -lt 10 ]; do echo "change $i" >> d1/f1; git commit -q -am "change $i"; i=$((i+1)); done
git checkout -q -b side HEAD~5; echo side > side; git add side; git commit -q -m side
git checkout -q main; git merge -q -m merge side; git rev-parse HEAD
git log --oneline | wc -l; git log --format=%s | head -3
git diff HEAD~3 --stat | tail -1; git status --porcelain | wc -l
git clone -q . ../clone; cd ../clone; git rev-parse HEAD; git ls-files | wc -l
git gc -q; git fsck --full 2>&1; git count-objects -v | grep -E 'in-pack|packs'
echo x > new; git add new; git stash -q; git stash list | wc -l; git stash pop -q; cat new
git rm -q -r d2; git commit -q -m removed; git archive HEAD | sha256sum
git push -q origin HEAD:refs/heads/pushed; git -C ../repo rev-parse pushed
git bundle create ../b HEAD 2>/dev/null; git bundle verify -q ../b && echo bundle ok
git clone -q --bare "file://$d/repo" ../bare.git; git -C ../bare.git fsck 2>&1
