#!/bin/sh
# Asks the other server how many visitors there were.
visitors=$(wget -q -O - "$COUNTER")
printf 'Content-Type: text/plain\r\n\r\n'
echo "Hello from $HOST_NAME. You are visitor $visitors, says $COUNTER"
