#!/bin/bash
# Prints the manual page millrace(1), made of what the program says about its commands:
#
#   manpage.sh PROGRAM
set -euo pipefail

# The help of a command as a section.  What has two columns becomes a list; what else is indented stays as it
# is.
section() {
	"$1" help "$2" | sed 's/\\/\\e/g; s/-/\\-/g' | awk '
		function text() { if (verbatim) print ".fi\n.RE"; verbatim = 0 }
		NR == 1         { sub(/:.*/, ""); print ".SH " toupper($0); next }
		/^$/            { text(); print ".PP"; next }
		/^[A-Z][^.]*:$/ { text(); sub(/:$/, ""); print ".SS " $0; next }
		!verbatim && /^          / { sub(/^ +/, ""); print "\\&" $0; next }
		match($0, /[^ ]   +[^ ]/) {
			text()
			print ".TP\n.B " substr($0, 3, RSTART - 2)
			print "\\&" substr($0, RSTART + RLENGTH - 1)
			next
		}
		sub(/^  /, "") && !verbatim { print ".RS\n.nf"; verbatim = 1 }
		{ print "\\&" $0 }
		END { text() }'
}

cat <<'END'
.TH MILLRACE 1
.SH NAME
millrace \- event and message store in PostgreSQL, over HTTP
END
for command in serve export import consume; do
	section "$1" "$command"
done
cat <<'END'
.SH FILES
.TP
.I /etc/millrace/millrace.conf
settings of the service
.TP
.I /var/lib/millrace
data of the private PostgreSQL of the service
.TP
.I /var/lib/millrace/token
the token of namespace default, made at the first start
.SH SEE ALSO
The HTTP interface, and how to operate the server:
.I /usr/share/doc/millrace
END
