SELECT milliseconds FROM pg_temp.balance_milliseconds(%s, %s::timestamptz[], %s::timestamptz[])
