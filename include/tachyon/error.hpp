/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_ERROR_HPP
#define TACHYON_ERROR_HPP
/*
 * Errors of the C library as exceptions, and time-outs as durations.
 *
 *      std::system_error
 *      +-- tachyon::Error                error() is the positive errno
 *          +-- ClosedError               the peer closed, all it sent was received
 *          +-- PeerDeadError             it died, all it had sent was received
 *          +-- TimeoutError              the time was over; nothing happened
 *          +-- InterruptedError          a signal handler ran; nothing happened, call again
 *          +-- CancelledError            this side has closed it
 *          +-- LeaseError                leases fill the ring: release some
 *          +-- BusyError                 another thread is at it, or a reservation is open
 *          +-- MessageTooLargeError      it does not fit the ring, or a record has another size
 *          +-- ProtocolError             the peer broke the protocol, or speaks another version
 *          +-- RefusedError              the listener said no, and why
 *          +-- ForkError                 the handle belongs to the parent process
 *          +-- FormatError               the message is not what was asked for
 *          +-- RpcError                  the server failed the call (rpc.hpp)
 */
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>

#include "../tachyon.h"

namespace tachyon {

class Error : public std::system_error {
public:
        Error(int error, const std::string &what) : std::system_error(error, std::generic_category()), what_(what) {}

        /* The positive errno. */
        int error() const noexcept { return code().value(); }
        /* Without the system's word for the number, which is "Broken pipe" for a peer that closed. */
        const char *what() const noexcept override { return what_.what(); }

private:
        std::runtime_error what_; /* a text whose copies cannot fail, as those of an exception must not */
};

class ClosedError : public Error { using Error::Error; };
class PeerDeadError : public Error { using Error::Error; };
class TimeoutError : public Error { using Error::Error; };
class InterruptedError : public Error { using Error::Error; };
class CancelledError : public Error { using Error::Error; };
class LeaseError : public Error { using Error::Error; };
class BusyError : public Error { using Error::Error; };
class MessageTooLargeError : public Error { using Error::Error; };
class ProtocolError : public Error { using Error::Error; };
class RefusedError : public Error { using Error::Error; };
class ForkError : public Error { using Error::Error; };
class FormatError : public Error { using Error::Error; };

/*
 * How long to wait: any std::chrono duration, `forever`, or `now` (try once).
 * A negative duration, as of a deadline that is over, is `now`.
 */
class Timeout {
public:
        template <class Rep, class Period>
        constexpr Timeout(std::chrono::duration<Rep, Period> time) : ns_(to_ns(time)) {}

        constexpr std::int64_t ns() const noexcept { return ns_; }
        static constexpr Timeout raw(std::int64_t ns) noexcept { return Timeout(ns); }

private:
        constexpr explicit Timeout(std::int64_t ns) noexcept : ns_(ns) {}

        template <class Rep, class Period>
        static constexpr std::int64_t to_ns(std::chrono::duration<Rep, Period> time) {
                using seconds = std::chrono::duration<double>;

                if (!(time > std::chrono::duration<Rep, Period>::zero()))
                        return 0;
                /* Longer than int64_t can say: 292 years. */
                if (std::chrono::duration_cast<seconds>(time).count() > 9e9)
                        return -1;
                return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
        }

        std::int64_t ns_;
};

inline constexpr Timeout forever = Timeout::raw(-1);
inline constexpr Timeout now = Timeout::raw(0);

/* Throws the exception for a negative result of a C function that has just been called in this thread. */
[[noreturn]] inline void raise(int result, const std::string &attempt) {
        int error = result < 0 ? -result : result;
        bool has_detail = error != EAGAIN && error != ETIMEDOUT && error != EINTR && *tachyon_error_detail();
        std::string what = attempt + ": " + (has_detail ? tachyon_error_detail() : tachyon_strerror(error));

        switch (error) {
        case TACHYON_ECLOSED: throw ClosedError(error, what);
        case TACHYON_EPEERDEAD: throw PeerDeadError(error, what);
        case EAGAIN:
        case ETIMEDOUT: throw TimeoutError(error, what);
        case EINTR: throw InterruptedError(error, what);
        case ECANCELED: throw CancelledError(error, what);
        case TACHYON_ELEASES: throw LeaseError(error, what);
        case EBUSY: throw BusyError(error, what);
        case EMSGSIZE: throw MessageTooLargeError(error, what);
        case EPROTO:
        case EPROTONOSUPPORT: throw ProtocolError(error, what);
        case ECONNREFUSED: throw RefusedError(error, what);
        case TACHYON_EFORK: throw ForkError(error, what);
        case EBADMSG: throw FormatError(error, what);
        default: throw Error(error, what);
        }
}

inline void check(int result, const char *attempt) {
        if (__builtin_expect(result < 0, 0))
                raise(result, attempt);
}

inline bool timed_out(std::int64_t result) noexcept {
        return result == -EAGAIN || result == -ETIMEDOUT;
}

/* For what opens a path: the library says which, but where only the time was over. */
inline void check_path(int result, const std::string &attempt, const std::string &path) {
        if (result < 0)
                raise(result, timed_out(result) ? attempt + " " + path : attempt);
}

} // namespace tachyon
#endif
