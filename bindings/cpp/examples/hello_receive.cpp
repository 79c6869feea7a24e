// bindings/cpp/examples/hello_receive.cpp
#include <iostream>
#include <tachyon.hpp>

int main() {
        tachyon::Bus bus = tachyon::Bus::listen("/tmp/hello");

        for (tachyon::Message &message : bus) // a lease each, until the next round
                std::cout << message.type_id() << ' ' << message.text() << '\n';
}
