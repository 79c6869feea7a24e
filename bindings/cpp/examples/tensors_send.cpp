// bindings/cpp/examples/tensors_send.cpp
#include <iostream>
#include <tachyon.hpp>

int main() {
        using namespace std::chrono_literals;
        constexpr std::size_t batches = 100, rows = 256, columns = 32;

        try {
                tachyon::Bus bus = tachyon::Bus::connect("/tmp/tensors", {}, 60s); // it loads PyTorch

                for (std::size_t batch = 0; batch < batches; batch++) {
                        auto features = bus.reserve_array<float>({rows, columns}); // in the ring

                        for (std::size_t row = 0; row < rows; row++)
                                for (std::size_t column = 0; column < columns; column++)
                                        features(row, column) = row % 2 ? 0.5f : 0.25f;
                        features.commit();
                }
        } catch (const tachyon::Error &error) {
                std::cerr << error.what() << '\n';
                return 1;
        }
}
