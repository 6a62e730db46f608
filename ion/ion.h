/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * ION rings for C: one side of a segment (ABI.md, version 1), for programs (C11) and for
 * the Linux kernel. Headers only: include this one.
 *
 * A side is one thread for each end of a lane: one may send on a ring while another
 * receives. Nothing here allocates memory, and nothing sleeps but ion_wait_*.
 *
 * The other side is taken for hostile. What must not change is read once, by ion_read, into
 * the caller's memory; each side's own indices, and whose a buffer is, stand in the caller's
 * memory alone; every other field is read once, checked, then used. What breaks a rule
 * closes the channel: ION_EVIOLATION from then on. The bytes of messages and buffers are
 * the other side's: copy, then check.
 *
 * Numbers are little-endian in the segment; so must the machine be.
 */
#ifndef ION_H
#define ION_H

#include "ion_layout.h"

#include "ion_channel.h"

#include "ion_message.h"

#include "ion_process.h"

#endif /* ION_H */
