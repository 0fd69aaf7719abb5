#!/bin/sh
# Each visitor adds a line.
echo visitor >>/visitors
printf 'Content-Type: text/plain\r\n\r\n'
wc -l </visitors
