/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_ARRAY_HPP
#define TACHYON_ARRAY_HPP
/*
 * Arrays that describe themselves: NumPy's recv_array() reads what send_array()
 * here has sent, and the other way round. Element types are those of
 * Dtype<T>; a program adds its own by specialising it.
 */
#include <complex>
#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "message.hpp"

namespace tachyon {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the texts below are those of a little-endian machine");

/* NumPy's text for an element type; see docs/protocol.md#arrays. */
template <class T, class = void> struct Dtype;
template <> struct Dtype<bool> { static constexpr const char *text = "|b1"; };
template <> struct Dtype<float> { static constexpr const char *text = "<f4"; };
template <> struct Dtype<double> { static constexpr const char *text = "<f8"; };
template <> struct Dtype<std::complex<float>> { static constexpr const char *text = "<c8"; };
template <> struct Dtype<std::complex<double>> { static constexpr const char *text = "<c16"; };
template <class T>
struct Dtype<T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>> {
        static constexpr const char *text = std::is_signed_v<T>
                ? (sizeof(T) == 1 ? "|i1" : sizeof(T) == 2 ? "<i2" : sizeof(T) == 4 ? "<i4" : "<i8")
                : (sizeof(T) == 1 ? "|u1" : sizeof(T) == 2 ? "<u2" : sizeof(T) == 4 ? "<u4" : "<u8");
};

using Shape = std::vector<std::uint64_t>;

/* Shape and elements, in C order; owns nothing. T is const in what was received. */
template <class T> class Elements {
public:
        const Shape &shape() const noexcept { return shape_; }
        T *data() const noexcept { return data_; }
        std::size_t size() const noexcept { return size_; }
        T *begin() const noexcept { return data_; }
        T *end() const noexcept { return data_ + size_; }
        T &operator[](std::size_t i) const noexcept { return data_[i]; }

        /* The element at these indices, as many as there are dimensions. Throws std::out_of_range. */
        template <class... Index> T &operator()(Index... index) const {
                const std::uint64_t indices[] = {static_cast<std::uint64_t>(index)..., 0};
                std::uint64_t at = 0;

                if (sizeof...(index) != shape_.size())
                        throw std::out_of_range("as many indices as dimensions");
                for (std::size_t i = 0; i < sizeof...(index); i++) {
                        if (indices[i] >= shape_[i])
                                throw std::out_of_range("index " + std::to_string(indices[i]) + " of " +
                                                        std::to_string(shape_[i]));
                        at = at * shape_[i] + indices[i];
                }
                return data_[at];
        }

protected:
        Elements(T *data, std::size_t size, Shape shape) : data_(data), size_(size), shape_(std::move(shape)) {}

        T *data_;
        std::size_t size_;
        Shape shape_;
};

/* A received array, in its message: valid as long as that one's lease. */
template <class T> class ArrayView : public Elements<const T> {
public:
        /* Throws FormatError where the message is no array of T. */
        explicit ArrayView(const MessageView &message) : ArrayView(read(message)) {}

private:
        explicit ArrayView(const tachyon_array &array)
                : Elements<const T>(static_cast<const T *>(array.data), array.data_size / sizeof(T),
                                    Shape(array.shape, array.shape + array.ndim)) {}

        static tachyon_array read(const MessageView &message) {
                tachyon_array array;

                if (tachyon_array_read(&array, message.data(), message.size()) < 0)
                        throw FormatError(EBADMSG, "the message is no array");
                if (!tachyon_array_is(&array, Dtype<T>::text) || array.itemsize != sizeof(T))
                        throw FormatError(EBADMSG, "the elements are " + std::string(array.dtype, array.dtype_size) +
                                                           ", not " + Dtype<T>::text);
                return array;
        }
};

template <class T> ArrayView<T> MessageView::array() const {
        return ArrayView<T>(*this);
}

/* The header of an array of T. Throws std::length_error where there can be no such array. */
template <class T> tachyon_array describe(const Shape &shape) {
        tachyon_array array{};

        static_assert(std::is_trivially_copyable_v<T>);
        if (shape.size() > TACHYON_ARRAY_MAX_NDIM)
                throw std::length_error("an array has at most 64 dimensions");
        array.itemsize = sizeof(T);
        array.dtype = Dtype<T>::text;
        array.ndim = static_cast<std::uint32_t>(shape.size());
        std::copy(shape.begin(), shape.end(), array.shape);
        if (!tachyon_array_size(&array))
                throw std::length_error("there can be no array of this shape");
        return array;
}

} // namespace tachyon
#endif
