/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_BUS_HPP
#define TACHYON_BUS_HPP
/* Bus: one end of a connection. Listener: accepts them. Slot: a message that is being written in the ring. */
#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>

#include "array.hpp"
#include "message.hpp"

namespace tachyon {

/* Options of a listener or a connection; what each means stands at tachyon_options in tachyon.h. */
struct Options {
        std::uint64_t capacity = 0;
        std::uint64_t reply_capacity = 0;
        std::uint64_t max_capacity = 0;
        /* How long a wait polls before it sleeps. Empty: adaptive. Zero: not at all. */
        std::optional<std::chrono::nanoseconds> spin{};
        std::uint32_t flags = 0; /* TACHYON_PREFAULT | ... */
        std::optional<int> numa_node{};
        std::uint32_t socket_mode = 0;
        std::vector<std::uint32_t> allowed_uids{};
        std::chrono::nanoseconds handshake_timeout{0};
        std::uint64_t max_pending = 0;

        /* For the C functions; valid as long as this is. */
        tachyon_options raw(tachyon_kind kind) const noexcept {
                tachyon_options options = TACHYON_OPTIONS_INIT;

                options.capacity = capacity;
                options.reply_capacity = reply_capacity;
                options.max_capacity = max_capacity;
                options.spin_ns = !spin ? 0 : spin->count() > 0 ? spin->count() : -1;
                options.flags = flags;
                options.kind = kind;
                options.numa_node = numa_node ? *numa_node + 1 : 0;
                options.socket_mode = socket_mode;
                options.allowed_uids = allowed_uids.data();
                options.allowed_uid_count = allowed_uids.size();
                options.handshake_timeout_ns = handshake_timeout.count();
                options.max_pending = max_pending;
                return options;
        }
};

/* The descriptors to sleep on after Bus::arm(); death is -1 where there is none. */
struct Descriptors {
        int data, room, death;
};

/* Room in the ring for one message. commit() sends it; a slot that dies before is cancelled. */
class Slot {
public:
        Slot(tachyon_bus *bus, void *data, std::size_t size) noexcept : bus_(bus), data_(data), size_(size) {}
        Slot(Slot &&other) noexcept
                : bus_(std::exchange(other.bus_, nullptr)), data_(std::exchange(other.data_, nullptr)),
                  size_(std::exchange(other.size_, 0)) {}
        Slot &operator=(Slot &&) = delete;
        ~Slot() { cancel(); }

        std::byte *data() const noexcept { return static_cast<std::byte *>(data_); }
        std::size_t size() const noexcept { return size_; }

        /* Sends the first @size bytes, or all of them. Throws std::length_error (the slot stays), and what send() does. */
        void commit(std::uint32_t type_id = 0) { commit_size(size_, type_id); }
        void commit_size(std::size_t size, std::uint32_t type_id = 0) {
                if (size > size_ || !bus_)
                        throw std::length_error(bus_ ? "more than the slot has room for" : "the slot was used already");
                tachyon_bus *bus = std::exchange(bus_, nullptr);

                data_ = nullptr;
                size_ = 0;
                check(tachyon_bus_commit(bus, size, type_id), "commit");
        }
        /* Nothing is sent. */
        void cancel() noexcept {
                if (bus_)
                        tachyon_bus_cancel(bus_);
                bus_ = nullptr;
                data_ = nullptr;
                size_ = 0;
        }

private:
        tachyon_bus *bus_;
        void *data_;
        std::size_t size_;
};

/* An array that is being written in the ring. Its elements are undefined at first. */
template <class T> class ArraySlot : public Elements<T> {
public:
        ArraySlot(Slot slot, T *data, std::size_t size, Shape shape)
                : Elements<T>(data, size, std::move(shape)), slot_(std::move(slot)) {}

        void commit(std::uint32_t type_id = 0) {
                slot_.commit(type_id);
                clear();
        }
        void cancel() noexcept {
                slot_.cancel();
                clear();
        }

private:
        void clear() noexcept {
                this->data_ = nullptr;
                this->size_ = 0;
        }

        Slot slot_;
};

/* What is sent as the bytes that it is made of: no pointers, and no text, which has its own overload. */
template <class T>
using if_value = std::enable_if_t<std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> &&
                                  !std::is_convertible_v<const T &, std::string_view>>;

class Bus {
public:
        class End {};
        class Iterator {
        public:
                explicit Iterator(Bus &bus) : bus_(&bus) { ++*this; }
                Message &operator*() noexcept { return message_; }
                Message *operator->() noexcept { return &message_; }
                Iterator &operator++() {
                        message_.release();
                        message_ = bus_->next();
                        return *this;
                }
                bool operator!=(End) const noexcept { return static_cast<bool>(message_); }
                bool operator==(End) const noexcept { return !message_; }

        private:
                Bus *bus_;
                Message message_;
        };

        /* Takes over what a C function gave. */
        explicit Bus(tachyon_bus *bus) noexcept : bus_(bus) {}

        /* Waits until one process connects; the path is free again then. */
        static Bus listen(const std::string &path, const Options &options = {}, Timeout timeout = forever) {
                tachyon_options raw = options.raw(TACHYON_KIND_STREAM);
                tachyon_bus *bus;

                check_path(tachyon_bus_listen(&bus, path.c_str(), &raw, timeout.ns()), "listen on", path);
                return Bus(bus);
        }
        /* Waits for a listener to appear and to accept. */
        static Bus connect(const std::string &path, const Options &options = {},
                           Timeout timeout = std::chrono::seconds(10)) {
                tachyon_options raw = options.raw(TACHYON_KIND_STREAM);
                tachyon_bus *bus;

                check_path(tachyon_bus_connect(&bus, path.c_str(), &raw, timeout.ns()), "connect to", path);
                return Bus(bus);
        }

        /* ---- sending: one thread at a time ---- */

        /* Copies the message into the ring. It is committed when this returns. */
        void send_bytes(const void *data, std::size_t size, std::uint32_t type_id = 0, Timeout timeout = forever) {
                check(tachyon_bus_send(raw(), data, size, type_id, timeout.ns()), "send");
        }
        void send(std::string_view text, std::uint32_t type_id = 0, Timeout timeout = forever) {
                send_bytes(text.data(), text.size(), type_id, timeout);
        }
        template <class T, class = if_value<T>>
        void send(const T &value, std::uint32_t type_id = 0, Timeout timeout = forever) {
                send_bytes(&value, sizeof(T), type_id, timeout);
        }
        /* False: the ring is full. */
        bool try_send_bytes(const void *data, std::size_t size, std::uint32_t type_id = 0) {
                int r = tachyon_bus_send(raw(), data, size, type_id, 0);

                if (r == -EAGAIN)
                        return false;
                check(r, "send");
                return true;
        }
        bool try_send(std::string_view text, std::uint32_t type_id = 0) {
                return try_send_bytes(text.data(), text.size(), type_id);
        }
        template <class T, class = if_value<T>> bool try_send(const T &value, std::uint32_t type_id = 0) {
                return try_send_bytes(&value, sizeof(T), type_id);
        }
        /* Room for a message, to be written in place; nothing else can be sent until it is committed or dies. */
        Slot reserve(std::size_t size, Timeout timeout = forever) {
                void *data;

                check(tachyon_bus_reserve(raw(), &data, size, timeout.ns()), "reserve");
                return Slot(raw(), data, size);
        }
        /* Each of @records becomes a message. How many were sent: fewer than all only after a time-out, a signal or the end. */
        template <class T>
        std::size_t send_records(const T *records, std::size_t count, std::uint32_t type_id = 0,
                                 Timeout timeout = forever) {
                static_assert(std::is_trivially_copyable_v<T>);
                return counted(tachyon_bus_send_records(raw(), records, sizeof(T), count, type_id, timeout.ns()),
                               "send records");
        }
        /* Sends dtype, shape and elements (in C order, as many as the shape says). */
        template <class T>
        void send_array(const T *data, const Shape &shape, std::uint32_t type_id = 0, Timeout timeout = forever) {
                ArraySlot<T> array = reserve_array<T>(shape, timeout);

                if (data)
                        std::copy(data, data + array.size(), array.data());
                else if (array.size() > 0) /* else the ring's old bytes would be sent */
                        throw std::invalid_argument("only an empty array has no elements");
                array.commit(type_id);
        }
        template <class T> ArraySlot<T> reserve_array(const Shape &shape, Timeout timeout = forever) {
                tachyon_array array = describe<T>(shape);
                Slot slot = reserve(tachyon_array_size(&array), timeout);
                std::size_t size = std::accumulate(shape.begin(), shape.end(), std::size_t{1}, std::multiplies<>());
                void *data;

                check(tachyon_array_write(&array, slot.data(), slot.size(), &data), "reserve an array");
                return ArraySlot<T>(std::move(slot), static_cast<T *>(data), size, shape);
        }

        /* ---- receiving: one thread at a time ---- */

        /* Throws ClosedError and PeerDeadError after the last message, TimeoutError, LeaseError, ... */
        Message recv(Timeout timeout = forever) {
                Message message;

                check(tachyon_bus_recv(raw(), &message.message_, timeout.ns()), "receive");
                message.bus_ = raw();
                return message;
        }
        /* Empty: there is none in this time. */
        std::optional<Message> recv_for(Timeout timeout) {
                /* Filled in where it will lie: to copy what was only just written in parts costs 60 ns. */
                std::optional<Message> message(std::in_place);
                int r = tachyon_bus_recv(raw(), &message->message_, timeout.ns());

                if (__builtin_expect(r == 0, 1)) {
                        message->bus_ = raw();
                } else {
                        message.reset();
                        if (!timed_out(r))
                                raise(r, "receive");
                }
                return message;
        }
        std::optional<Message> try_recv() { return recv_for(now); }
        /*
         * Copies the next message into memory of your own, and says how many bytes it has: no
         * lease, and for small messages less work. Throws MessageTooLargeError where it has more
         * than @room; it stays the next one.
         */
        std::size_t recv_bytes(void *buffer, std::size_t room, std::uint32_t *type_id = nullptr,
                               Timeout timeout = forever) {
                return counted(tachyon_bus_recv_copy(raw(), buffer, room, type_id, timeout.ns()), "receive");
        }
        /* Empty: there is none. */
        std::optional<std::size_t> try_recv_bytes(void *buffer, std::size_t room, std::uint32_t *type_id = nullptr) {
                std::int64_t r = tachyon_bus_recv_copy(raw(), buffer, room, type_id, 0);

                if (__builtin_expect(r < 0, 0) && timed_out(r))
                        return std::nullopt;
                return counted(r, "receive");
        }
        /* What is there, at most @max; waits for the first. */
        Batch recv_batch(std::size_t max = 256, Timeout timeout = forever) {
                std::vector<tachyon_message> messages(max);

                messages.resize(counted(
                        tachyon_bus_recv_batch(raw(), messages.data(), messages.size(), timeout.ns()), "receive"));
                return Batch(raw(), std::move(messages));
        }
        /*
         * A run of messages that are each a T, with this tag or any. A message of
         * another size (MessageTooLargeError) or tag (FormatError) stays the next one.
         */
        template <class T>
        Records<T> recv_records(std::size_t max = 65536, std::optional<std::uint32_t> type_id = {},
                                Timeout timeout = forever) {
                tachyon_records records;

                counted(tachyon_bus_recv_records(raw(), &records, sizeof(T), max, type_id ? &*type_id : nullptr,
                                                 timeout.ns()),
                        "receive records");
                return Records<T>(raw(), records);
        }
        /* for (Message &message : bus): until either side closes in good order; throws PeerDeadError where it died. */
        Iterator begin() { return Iterator(*this); }
        End end() const noexcept { return {}; }

        /* ---- waiting, event loops ---- */

        bool wait_data(Timeout timeout = forever) {
                return waited(tachyon_bus_wait_data(raw(), timeout.ns()), "wait for data");
        }
        bool wait_space(std::size_t size, Timeout timeout = forever) {
                return waited(tachyon_bus_wait_space(raw(), size, timeout.ns()), "wait for room");
        }
        /* True: armed, sleep on descriptors().data and .death. False: receive first. */
        bool arm() { return counted(tachyon_bus_arm(raw()), "arm") == 0; }
        bool arm_space(std::size_t size) { return counted(tachyon_bus_arm_space(raw(), size), "arm") == 0; }
        void disarm_space() { check(tachyon_bus_disarm_space(raw()), "disarm"); }
        Descriptors descriptors() const {
                Descriptors fds;

                check(tachyon_bus_fds(raw(), &fds.data, &fds.room, &fds.death), "give descriptors");
                return fds;
        }

        /* ---- the end, and facts: any thread ---- */

        /* The peer gets what was sent, then the end. Waits of other threads throw CancelledError. */
        void close() noexcept { tachyon_bus_close(bus_.get()); }
        tachyon_properties properties() const {
                tachyon_properties properties{};

                properties.struct_size = sizeof(properties);
                check(tachyon_bus_properties(raw(), &properties), "read properties");
                return properties;
        }
        tachyon_stats stats() const {
                tachyon_stats stats{};

                stats.struct_size = sizeof(stats);
                check(tachyon_bus_stats(raw(), &stats), "read counters");
                return stats;
        }
        tachyon_bus *raw() const noexcept { return bus_.get(); }
        /* The caller frees it. */
        tachyon_bus *detach() noexcept { return bus_.release(); }

private:
        struct Free {
                void operator()(tachyon_bus *bus) const noexcept { tachyon_bus_free(bus); }
        };

        /* The next message, or an empty one at the end. */
        Message next() {
                Message message;
                int r = tachyon_bus_recv(raw(), &message.message_, -1);

                if (__builtin_expect(r == 0, 1))
                        message.bus_ = raw();
                else if (r != -TACHYON_ECLOSED && r != -ECANCELED)
                        raise(r, "receive");
                return message;
        }
        static std::size_t counted(std::int64_t result, const char *attempt) {
                if (__builtin_expect(result < 0, 0))
                        raise(static_cast<int>(result), attempt);
                return static_cast<std::size_t>(result);
        }
        static bool waited(int result, const char *attempt) {
                if (timed_out(result))
                        return false;
                check(result, attempt);
                return true;
        }

        std::unique_ptr<tachyon_bus, Free> bus_;
};

/* Sleeps until some of the buses have a message or news of their end; which ones: indices into @buses. Empty: the time is over. */
inline std::vector<std::size_t> wait(const std::vector<Bus *> &buses, Timeout timeout = forever) {
        std::vector<tachyon_bus *> raw(buses.size());
        std::vector<unsigned char> ready(buses.size());
        std::vector<std::size_t> which;

        std::transform(buses.begin(), buses.end(), raw.begin(), [](const Bus *bus) { return bus->raw(); });
        int r = tachyon_bus_wait_any(raw.data(), raw.size(), ready.data(), timeout.ns());

        if (timed_out(r))
                return which;
        check(r, "wait");
        for (std::size_t i = 0; i < ready.size(); i++)
                if (ready[i])
                        which.push_back(i);
        return which;
}

/* Accepts one bus for each process that connects. */
class Listener {
public:
        explicit Listener(const std::string &path, const Options &options = {},
                          tachyon_kind kind = TACHYON_KIND_STREAM) {
                tachyon_options raw = options.raw(kind);
                tachyon_listener *listener;

                check_path(tachyon_listener_create(&listener, path.c_str(), &raw), "listen on", path);
                listener_.reset(listener);
        }

        Bus accept(Timeout timeout = forever) {
                tachyon_bus *bus;

                check(tachyon_listener_accept(listener_.get(), &bus, timeout.ns()), "accept");
                return Bus(bus);
        }
        /* Readable when accept(now) has something to do. */
        int descriptor() const {
                int fd = tachyon_listener_fd(listener_.get());

                check(fd, "give a descriptor");
                return fd;
        }
        /* Buses live on; an accept() in another thread throws CancelledError. */
        void close() noexcept { tachyon_listener_close(listener_.get()); }

private:
        struct Free {
                void operator()(tachyon_listener *listener) const noexcept { tachyon_listener_free(listener); }
        };

        std::unique_ptr<tachyon_listener, Free> listener_;
};

} // namespace tachyon
#endif
