. /tmp/env.sh
time /root/h/heavy jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.timeout=900 notebooks/$1*.ipynb 2>&1 | tail -30
