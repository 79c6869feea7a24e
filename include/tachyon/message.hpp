/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_MESSAGE_HPP
#define TACHYON_MESSAGE_HPP
/*
 * What is received. A MessageView looks at a message in the ring; a Message, a
 * Batch and Records own the lease on what they look at, and give it back when
 * they die: in any order, in any thread, also after the bus is gone.
 *
 * The bytes are the peer's memory, mapped read-only. A hostile peer can change
 * them while they are looked at: copy (load()) what is checked before it is used.
 */
#include <cstddef>
#include <cstring>
#include <iterator>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "error.hpp"

namespace tachyon {

template <class T> class ArrayView;

/* Looks at a message, and owns nothing: valid as long as who owns the lease. */
class MessageView {
public:
        const std::byte *data() const noexcept { return static_cast<const std::byte *>(message_.data); }
        std::size_t size() const noexcept { return message_.size; }
        std::uint32_t type_id() const noexcept { return message_.type_id; }
        std::uint64_t correlation_id() const noexcept { return message_.correlation_id; }
        const std::byte *begin() const noexcept { return data(); }
        const std::byte *end() const noexcept { return data() + size(); }
        std::string_view text() const noexcept { return {static_cast<const char *>(message_.data), size()}; }

        /* The message as a T, where it lies. Throws FormatError where its size is not T's. */
        template <class T> const T &as() const {
                static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 16);
                check_size(sizeof(T));
                if constexpr (alignof(T) > 8) /* short messages of calls lie at 8 bytes */
                        if (reinterpret_cast<std::uintptr_t>(message_.data) % alignof(T))
                                throw FormatError(EBADMSG, "the bytes are not aligned for this type: load() it");
                return *static_cast<const T *>(message_.data);
        }

        /* A copy of it, for who does not trust the peer. */
        template <class T> T load() const {
                T value;

                static_assert(std::is_trivially_copyable_v<T>);
                check_size(sizeof(T));
                std::memcpy(&value, message_.data, sizeof(T));
                return value;
        }

        /* The message as the array that it is (array.hpp). Throws FormatError. */
        template <class T> ArrayView<T> array() const;

        const tachyon_message &raw() const noexcept { return message_; }

protected:
        /* The rest is for who fills it in. */
        MessageView() noexcept {
                message_.data = nullptr;
                message_.size = 0;
        }
        explicit MessageView(const tachyon_message &message) noexcept : message_(message) {}

        void check_size(std::size_t size) const {
                if (size != message_.size)
                        throw FormatError(EBADMSG, "a message of " + std::to_string(message_.size) +
                                                           " bytes is no object of " + std::to_string(size));
        }

        tachyon_message message_;

        friend class Batch;
};

/* A received message: a lease. Moves, and does not copy. */
class Message : public MessageView {
public:
        Message() noexcept = default;
        Message(tachyon_bus *bus, const tachyon_message &message) noexcept : MessageView(message), bus_(bus) {}
        Message(Message &&other) noexcept : MessageView(other.message_), bus_(other.bus_) { other.forget(); }
        Message &operator=(Message &&other) noexcept {
                if (this != &other) {
                        release();
                        message_ = other.message_;
                        bus_ = other.bus_;
                        other.forget();
                }
                return *this;
        }
        ~Message() { release(); }

        /* Gives it back before its end. data() is nullptr then. */
        void release() noexcept {
                if (bus_) {
                        tachyon_bus_release(bus_, message_.lease);
                        forget();
                }
        }
        explicit operator bool() const noexcept { return bus_ != nullptr; }

private:
        void forget() noexcept {
                bus_ = nullptr;
                message_.data = nullptr;
                message_.size = 0;
        }

        tachyon_bus *bus_ = nullptr;

        friend class Bus;
};

/* Several messages, given back together. */
class Batch {
public:
        class Iterator {
        public:
                using iterator_category = std::input_iterator_tag;
                using value_type = MessageView;
                using difference_type = std::ptrdiff_t;
                using pointer = void;
                using reference = MessageView;

                explicit Iterator(const tachyon_message *at) noexcept : at_(at) {}
                MessageView operator*() const noexcept { return Batch::view(*at_); }
                Iterator &operator++() noexcept { return ++at_, *this; }
                Iterator operator++(int) noexcept { return Iterator(at_++); }
                bool operator==(const Iterator &other) const noexcept { return at_ == other.at_; }
                bool operator!=(const Iterator &other) const noexcept { return at_ != other.at_; }

        private:
                const tachyon_message *at_;
        };

        Batch(tachyon_bus *bus, std::vector<tachyon_message> messages) noexcept
                : bus_(bus), messages_(std::move(messages)) {}
        Batch(Batch &&other) noexcept
                : bus_(std::exchange(other.bus_, nullptr)), messages_(std::move(other.messages_)) {
                other.messages_.clear();
        }
        Batch &operator=(Batch &&other) noexcept {
                if (this != &other) {
                        release();
                        bus_ = std::exchange(other.bus_, nullptr);
                        messages_ = std::move(other.messages_);
                        other.messages_.clear();
                }
                return *this;
        }
        ~Batch() { release(); }

        void release() noexcept {
                if (bus_)
                        tachyon_bus_release_batch(bus_, messages_.data(), messages_.size());
                bus_ = nullptr;
                messages_.clear();
        }
        std::size_t size() const noexcept { return messages_.size(); }
        bool empty() const noexcept { return messages_.empty(); }
        MessageView operator[](std::size_t i) const noexcept { return view(messages_[i]); }
        Iterator begin() const noexcept { return Iterator(messages_.data()); }
        Iterator end() const noexcept { return Iterator(messages_.data() + messages_.size()); }

private:
        static MessageView view(const tachyon_message &message) noexcept { return MessageView(message); }

        tachyon_bus *bus_;
        std::vector<tachyon_message> messages_;
};

/* A run of messages of one size, each of them a T; one lease. */
template <class T> class Records {
        static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 16);

public:
        class Iterator {
        public:
                using iterator_category = std::forward_iterator_tag;
                using value_type = T;
                using difference_type = std::ptrdiff_t;
                using pointer = const T *;
                using reference = const T &;

                Iterator() noexcept = default;
                Iterator(const std::byte *at, std::size_t stride) noexcept : at_(at), stride_(stride) {}
                reference operator*() const noexcept { return *static_cast<const T *>(static_cast<const void *>(at_)); }
                pointer operator->() const noexcept { return &**this; }
                Iterator &operator++() noexcept { return at_ += stride_, *this; }
                Iterator operator++(int) noexcept {
                        Iterator before = *this;

                        ++*this;
                        return before;
                }
                bool operator==(const Iterator &other) const noexcept { return at_ == other.at_; }
                bool operator!=(const Iterator &other) const noexcept { return at_ != other.at_; }

        private:
                const std::byte *at_ = nullptr;
                std::size_t stride_ = 0;
        };

        Records(tachyon_bus *bus, const tachyon_records &records) noexcept : bus_(bus), records_(records) {}
        Records(Records &&other) noexcept : bus_(std::exchange(other.bus_, nullptr)), records_(other.records_) {
                other.records_.count = 0;
        }
        Records &operator=(Records &&other) noexcept {
                if (this != &other) {
                        release();
                        bus_ = std::exchange(other.bus_, nullptr);
                        records_ = other.records_;
                        other.records_.count = 0;
                }
                return *this;
        }
        ~Records() { release(); }

        void release() noexcept {
                if (bus_)
                        tachyon_bus_release(bus_, records_.lease);
                bus_ = nullptr;
                records_.count = 0;
        }
        std::size_t size() const noexcept { return records_.count; }
        bool empty() const noexcept { return records_.count == 0; }
        /* Bytes from one to the next. */
        std::size_t stride() const noexcept { return records_.stride; }
        const T &operator[](std::size_t i) const noexcept { return *Iterator(first() + i * stride(), stride()); }
        Iterator begin() const noexcept { return Iterator(first(), stride()); }
        Iterator end() const noexcept { return Iterator(first() + size() * stride(), stride()); }

private:
        const std::byte *first() const noexcept { return static_cast<const std::byte *>(records_.data); }

        tachyon_bus *bus_;
        tachyon_records records_;
};

} // namespace tachyon
#endif
