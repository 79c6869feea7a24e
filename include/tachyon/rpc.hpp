/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_RPC_HPP
#define TACHYON_RPC_HPP
/*
 * Request and reply. The end that connected calls (Caller), the listener's end
 * serves (Server). Replies and requests keep what they lie in alive, so they may
 * outlive the end that gave them.
 */
#include <cstdlib>
#include <cxxabi.h>
#include <functional>
#include <typeinfo>
#include <unordered_map>

#include "bus.hpp"

namespace tachyon {

/* The server failed the call: code() is an enum tachyon_rpc_code or the server's own, text() its words. */
class RpcError : public Error {
public:
        RpcError(std::uint32_t code, std::string text)
                : Error(EIO, "the call failed: " + text.substr(0, text.find('\0'))), code_(code),
                  text_(std::move(text)) {}

        std::uint32_t rpc_code() const noexcept { return code_; }
        const std::string &text() const noexcept { return text_; }

private:
        std::uint32_t code_;
        std::string text_;
};

using RpcHandle = std::shared_ptr<tachyon_rpc>;

inline RpcHandle make_rpc(Bus bus) {
        tachyon_rpc *rpc;

        check(tachyon_rpc_create(&rpc, bus.raw()), "make an end of calls");
        bus.detach();
        return RpcHandle(rpc, tachyon_rpc_free);
}

/* What Caller and Server are: the bus is closed when they die, though messages of it may live on. */
class RpcEnd {
public:
        RpcEnd(RpcEnd &&) noexcept = default;
        RpcEnd &operator=(RpcEnd &&other) noexcept {
                if (this != &other) {
                        close();
                        rpc_ = std::move(other.rpc_);
                }
                return *this;
        }

        /* The peer gets what was sent, then the end. */
        void close() noexcept { tachyon_rpc_close(rpc_.get()); }
        tachyon_rpc_counters counters() const {
                tachyon_rpc_counters counters{};

                counters.struct_size = sizeof(counters);
                check(tachyon_rpc_stats(rpc_.get(), &counters), "read counters");
                return counters;
        }
        /* For properties, counters and event loops; belongs to this. */
        tachyon_bus *bus() const noexcept { return tachyon_rpc_bus(rpc_.get()); }

protected:
        explicit RpcEnd(Bus bus) : rpc_(make_rpc(std::move(bus))) {}
        ~RpcEnd() { close(); }

        RpcHandle rpc_;
};

/* A reply or a request: as Message, a lease. */
class RpcMessage : public MessageView {
public:
        RpcMessage(RpcHandle rpc, const tachyon_message &message) noexcept
                : MessageView(message), rpc_(std::move(rpc)) {}
        RpcMessage(RpcMessage &&other) noexcept
                : MessageView(other.message_), rpc_(std::move(other.rpc_)) { other.forget(); }
        RpcMessage &operator=(RpcMessage &&other) noexcept {
                if (this != &other) {
                        release();
                        message_ = other.message_;
                        rpc_ = std::move(other.rpc_);
                        other.forget();
                }
                return *this;
        }
        ~RpcMessage() { release(); }

        void release() noexcept {
                if (rpc_)
                        tachyon_rpc_release(rpc_.get(), &message_);
                rpc_.reset();
                forget();
        }

protected:
        void forget() noexcept {
                message_.data = nullptr;
                message_.size = 0;
        }

        RpcHandle rpc_;
};

using Reply = RpcMessage;

/* Room in the ring for a request or a reply. One that dies before its commit() is cancelled. */
class RpcSlot {
public:
        RpcSlot(RpcHandle rpc, void *data, std::size_t size) noexcept
                : rpc_(std::move(rpc)), data_(data), size_(size) {}
        RpcSlot(RpcSlot &&) noexcept = default;
        RpcSlot &operator=(RpcSlot &&) = delete;
        ~RpcSlot() { cancel(); }

        std::byte *data() const noexcept { return static_cast<std::byte *>(data_); }
        std::size_t size() const noexcept { return size_; }
        /* Nothing is sent. */
        void cancel() noexcept {
                if (rpc_)
                        tachyon_rpc_cancel(rpc_.get());
                rpc_.reset();
                data_ = nullptr;
                size_ = 0;
        }

protected:
        /* Whom to commit @size bytes with. The slot is over, unless they are too many. */
        RpcHandle finish(std::size_t size) {
                if (size > size_ || !rpc_)
                        throw std::length_error(rpc_ ? "more than the slot has room for" : "the slot was used already");
                data_ = nullptr;
                size_ = 0;
                return std::move(rpc_);
        }

private:
        RpcHandle rpc_;
        void *data_;
        std::size_t size_;
};

class ReplySlot : public RpcSlot {
public:
        using RpcSlot::RpcSlot;

        /* Sends the first @size bytes, or all of them. Throws std::length_error (the slot stays), and what reply() does. */
        void commit(std::uint32_t type_id = 0) { commit_size(size(), type_id); }
        void commit_size(std::size_t size, std::uint32_t type_id = 0) {
                check(tachyon_rpc_commit_reply(finish(size).get(), size, type_id), "reply");
        }
};

/* What came to a server. To be answered once: reply(), reserve_reply() or fail(). */
class Request : public RpcMessage {
public:
        using RpcMessage::RpcMessage;

        void reply_bytes(const void *data, std::size_t size, std::uint32_t type_id = 0, Timeout timeout = forever) {
                check(tachyon_rpc_reply(held(), correlation_id(), data, size, type_id, timeout.ns()), "reply");
        }
        void reply(std::string_view text, std::uint32_t type_id = 0, Timeout timeout = forever) {
                reply_bytes(text.data(), text.size(), type_id, timeout);
        }
        ReplySlot reserve_reply(std::size_t size, Timeout timeout = forever) {
                void *data;

                check(tachyon_rpc_reserve_reply(held(), correlation_id(), &data, size, timeout.ns()), "reply");
                return ReplySlot(rpc_, data, size);
        }
        /* The caller gets an RpcError of this code and text. */
        void fail(std::uint32_t code, std::string_view text, Timeout timeout = forever) {
                check(tachyon_rpc_fail(held(), correlation_id(), code, text.data(), text.size(), timeout.ns()),
                      "fail a call");
        }

private:
        tachyon_rpc *held() const {
                if (!rpc_)
                        throw Error(EINVAL, "the request was released, or moved from");
                return rpc_.get();
        }
};

/* A call whose reply is still to come. One that dies is given up. */
class PendingCall {
public:
        PendingCall(RpcHandle rpc, std::uint64_t id) noexcept : rpc_(std::move(rpc)), id_(id) {}
        PendingCall(PendingCall &&) noexcept = default;
        PendingCall &operator=(PendingCall &&other) noexcept {
                if (this != &other) {
                        forget();
                        rpc_ = std::move(other.rpc_);
                        id_ = other.id_;
                }
                return *this;
        }
        ~PendingCall() { forget(); }

        std::uint64_t id() const noexcept { return id_; }
        /* After TimeoutError the call is still outstanding. Throws RpcError where the server failed it. */
        Reply wait(Timeout timeout = forever);
        void forget() noexcept {
                if (rpc_)
                        tachyon_rpc_forget(rpc_.get(), id_);
                rpc_.reset();
        }

private:
        RpcHandle rpc_;
        std::uint64_t id_;
};

/* A request that is being written in the ring. */
class RequestSlot : public RpcSlot {
public:
        using RpcSlot::RpcSlot;

        /* Sends the first @size bytes, or all of them. Throws std::length_error (the slot stays), and what submit() does. */
        PendingCall commit(std::uint32_t type_id) { return commit_size(size(), type_id); }
        PendingCall commit_size(std::size_t size, std::uint32_t type_id) {
                RpcHandle rpc = finish(size);
                std::uint64_t id;

                check(tachyon_rpc_commit(rpc.get(), size, type_id, &id), "submit");
                return PendingCall(std::move(rpc), id);
        }
};

/* The calling end; one thread at a time, and its replies with it. */
class Caller : public RpcEnd {
public:
        explicit Caller(Bus bus) : RpcEnd(std::move(bus)) {}

        static Caller connect(const std::string &path, const Options &options = {},
                              Timeout timeout = std::chrono::seconds(10)) {
                tachyon_options raw = options.raw(TACHYON_KIND_RPC);
                tachyon_bus *bus;

                check_path(tachyon_bus_connect(&bus, path.c_str(), &raw, timeout.ns()), "connect to", path);
                return Caller(Bus(bus));
        }

        /* Throws RpcError where the server failed it, TimeoutError (it is given up), ClosedError, PeerDeadError, ... */
        Reply call_bytes(const void *data, std::size_t size, std::uint32_t type_id, Timeout timeout = forever) {
                tachyon_message message;
                int r = tachyon_rpc_call(rpc_.get(), data, size, type_id, &message, timeout.ns());

                return finished(rpc_, r, message);
        }
        Reply call(std::string_view text, std::uint32_t type_id, Timeout timeout = forever) {
                return call_bytes(text.data(), text.size(), type_id, timeout);
        }
        /*
         * Has the reply copied into memory of your own, and says how many bytes it has: no lease,
         * and nothing allocated. Throws MessageTooLargeError where it has more than @room; it is lost then.
         */
        std::size_t call_into(void *buffer, std::size_t room, const void *data, std::size_t size, std::uint32_t type_id,
                              Timeout timeout = forever) {
                tachyon_message reply;
                int r = tachyon_rpc_call_copy(rpc_.get(), data, size, type_id, buffer, room, &reply, timeout.ns());

                check(r, "call");
                if (__builtin_expect(r == 1, 0))
                        throw RpcError(reply.type_id, std::string(static_cast<const char *>(buffer), reply.size));
                return reply.size;
        }
        PendingCall submit_bytes(const void *data, std::size_t size, std::uint32_t type_id, Timeout timeout = forever) {
                std::uint64_t id;

                check(tachyon_rpc_submit(rpc_.get(), data, size, type_id, &id, timeout.ns()), "submit");
                return PendingCall(rpc_, id);
        }
        PendingCall submit(std::string_view text, std::uint32_t type_id, Timeout timeout = forever) {
                return submit_bytes(text.data(), text.size(), type_id, timeout);
        }
        /* Room for a request, to be written in place; nothing else can be sent until it is committed or dies. */
        RequestSlot reserve(std::size_t size, Timeout timeout = forever) {
                void *data;

                check(tachyon_rpc_reserve(rpc_.get(), &data, size, timeout.ns()), "reserve");
                return RequestSlot(rpc_, data, size);
        }
        /* Calls that may be outstanding; 65536 at first. */
        void set_limit(std::uint32_t calls) { check(tachyon_rpc_set_limit(rpc_.get(), calls), "set the limit"); }

private:
        static Reply finished(const RpcHandle &rpc, int result, const tachyon_message &message) {
                check(result, "call");
                Reply reply(rpc, message);

                if (__builtin_expect(result == 1, 0))
                        throw RpcError(reply.type_id(), std::string(reply.text()));
                return reply;
        }

        friend class PendingCall;
};

inline Reply PendingCall::wait(Timeout timeout) {
        tachyon_message message;

        if (!rpc_)
                throw Error(EINVAL, "the call was waited for, or given up");
        int r = tachyon_rpc_wait(rpc_.get(), id_, &message, timeout.ns());

        if (r < 0)
                raise(r, "wait for a reply");
        return Caller::finished(std::exchange(rpc_, nullptr), r, message);
}

/* The serving end. One thread takes requests, one at a time replies. */
class Server : public RpcEnd {
public:
        using Endpoint = std::function<std::string(const Request &)>;
        using Endpoints = std::unordered_map<std::uint32_t, Endpoint>;

        explicit Server(Bus bus) : RpcEnd(std::move(bus)) {}

        static Server listen(const std::string &path, const Options &options = {}, Timeout timeout = forever) {
                return Server(Listener(path, options, TACHYON_KIND_RPC).accept(timeout));
        }

        /* Throws ClosedError, PeerDeadError, TimeoutError, ... */
        Request serve(Timeout timeout = forever) {
                tachyon_message message;

                check(tachyon_rpc_serve(rpc_.get(), &message, timeout.ns()), "serve");
                return Request(rpc_, message);
        }
        /*
         * Serves until the client closes or dies, or this end is closed. What an
         * endpoint throws becomes the caller's RpcError, "type: what()". A signal
         * that ends the wait for a request throws InterruptedError: call again, or stop.
         */
        void serve_forever(const Endpoints &endpoints) {
                try {
                        for (;;)
                                answer(endpoints, serve());
                } catch (const ClosedError &) {
                } catch (const PeerDeadError &) {
                } catch (const CancelledError &) {
                }
        }

private:
        static std::string name_of(const std::exception &error) {
                std::unique_ptr<char, void (*)(void *)> name(
                        abi::__cxa_demangle(typeid(error).name(), nullptr, nullptr, nullptr), std::free);

                return name ? name.get() : typeid(error).name();
        }
        static void answer(const Endpoints &endpoints, Request request) {
                auto endpoint = endpoints.find(request.type_id());

                if (endpoint == endpoints.end())
                        return fail(request, TACHYON_RPC_UNKNOWN_TYPE,
                                    "there is no procedure " + std::to_string(request.type_id()));
                std::string reply;

                try {
                        reply = endpoint->second(request);
                } catch (const std::exception &error) {
                        return fail(request, TACHYON_RPC_EXCEPTION, name_of(error) + ": " + error.what());
                } catch (const abi::__forced_unwind &) { /* the thread is being cancelled */
                        throw;
                } catch (...) {
                        return fail(request, TACHYON_RPC_EXCEPTION, "what was thrown is no std::exception");
                }
                try {
                        until_done([&] { request.reply(reply); });
                } catch (const MessageTooLargeError &error) {
                        fail(request, TACHYON_RPC_TOO_LARGE, error.what());
                }
        }
        static void fail(Request &request, std::uint32_t code, const std::string &text) {
                until_done([&] { request.fail(code, text); });
        }
        /* A signal must not leave a request without an answer. */
        template <class Answer> static void until_done(const Answer &answer) {
                for (;;) {
                        try {
                                return answer();
                        } catch (const InterruptedError &) {
                        }
                }
        }
};

} // namespace tachyon
#endif
