/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_HPP
#define TACHYON_HPP
/*
 * tachyon for C++17: a thin, header-only face of include/tachyon.h.
 *
 * Handles and leases are objects that give back what they hold when they die:
 *
 *      tachyon::Bus bus = tachyon::Bus::connect("/tmp/ticks");
 *      bus.send(tick, 7);
 *      for (tachyon::Message &message : bus)
 *              use(message.as<Tick>());
 *
 * Errors are exceptions, one class for each that a program may want to tell
 * from the others, all of them tachyon::Error (a std::system_error). What may
 * find nothing without that being an error gives a std::optional or a bool:
 * try_recv(), recv_for(), try_send().
 *
 * All words, blocking behaviour and thread rules are those of tachyon.h. The
 * calls are inline and add nothing to the C functions but a test of the result.
 *
 * parts: error.hpp (errors, time-outs), message.hpp (what is received),
 * array.hpp (arrays that describe themselves), bus.hpp (Bus, Listener),
 * rpc.hpp (Caller, Server).
 */
#include "tachyon/array.hpp"
#include "tachyon/bus.hpp"
#include "tachyon/error.hpp"
#include "tachyon/message.hpp"
#include "tachyon/rpc.hpp"

#endif
