#include "textflag.h"

// func int80(nr, a, b, c uint32) uint32
TEXT ·int80(SB), NOSPLIT, $0-24
	MOVL	nr+0(FP), AX
	MOVL	a+4(FP), BX
	MOVL	b+8(FP), CX
	MOVL	c+12(FP), DX
	XORL	SI, SI
	XORL	DI, DI
	BYTE	$0xcd; BYTE $0x80 // INT 0x80: the call table of 32 bit programs
	MOVL	AX, ret+16(FP)
	RET
