/*
 * The files of the page, each as its name with a zero byte, the number of its bytes (32 bits), and those bytes:
 * what gzip made of it (Makefile).  An empty name is the end.
 */
	.macro file name
	.asciz "\name"
	.long 2f - 1f
1:	.incbin "ui/\name\().gz"
2:
	.endm

	.section .rodata
	.globl page_files
	.type page_files, %object
page_files:
	file "index.html"
	file "style.css"
	file "theme.js"
	file "app.js"
	file "api.js"
	file "json.js"
	file "route.js"
	file "box.js"
	file "ui.js"
	file "table.js"
	file "change.js"
	file "plot.js"
	file "view_namespace.js"
	file "view_streams.js"
	file "view_stream.js"
	file "view_message.js"
	file "view_search.js"
	file "view_consumers.js"
	file "view_admin.js"
	file "view_settings.js"
	file "vendor/preact.js"
	.byte 0
	.size page_files, . - page_files

	.section .note.GNU-stack, "", %progbits
