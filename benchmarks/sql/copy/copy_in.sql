COPY saldo.copied FROM STDIN
