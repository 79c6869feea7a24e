// bindings/cpp/examples/order_book_client.cpp
#include <iostream>
#include <tachyon.hpp>

struct Snapshot { std::uint64_t number, instrument; double levels[20]; };

int main() {
        using namespace std::chrono_literals;
        tachyon::Caller caller = tachyon::Caller::connect("/tmp/books");
        std::uint64_t instrument = 2330;

        try {
                tachyon::Reply reply = caller.call_bytes(&instrument, sizeof(instrument), 1, 1s);

                std::cout << "best bid " << reply.as<Snapshot>().levels[0] << '\n';
        } catch (const tachyon::RpcError &error) {
                std::cout << "the server says " << error.text() << '\n';
        }
        caller.call("", 2, 1s); // stop
}
