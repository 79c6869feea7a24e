// bindings/cpp/examples/features_send.cpp
#include <iostream>
#include <tachyon.hpp>

int main() {
        try {
                tachyon::Bus bus = tachyon::Bus::connect("/tmp/arrays");
                const double eye[] = {1, 0, 0, 1};

                bus.send_array(eye, {2, 2}); // copied once, into the ring
                auto image = bus.reserve_array<float>({480, 640}); // made in the ring, never copied
                std::fill(image.begin(), image.end(), 0.5f);
                image.commit();

                struct Tick { std::uint64_t time; double price; };
                std::vector<Tick> ticks;
                for (std::uint64_t i = 0; i < 100000; i++)
                        ticks.push_back({i, 100 + static_cast<double>(i) / 100000});
                bus.send_records(ticks.data(), ticks.size()); // 100,000 messages of 16 bytes
        } catch (const tachyon::Error &error) {
                std::cerr << error.what() << '\n';
                return 1;
        }
}
