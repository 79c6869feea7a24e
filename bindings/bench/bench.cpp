/* SPDX-License-Identifier: MIT */
/* bench ROLE PATH: what `tachyon bench languages` measures, in C++. See README.md. */
#include <array>
#include <chrono>
#include <future>
#include <iostream>
#include <tachyon.hpp>

using tachyon::Bus;
using Clock = std::chrono::steady_clock;
using Nanoseconds = std::chrono::duration<double, std::nano>;

namespace {

constexpr std::uint64_t turn = 16384; /* records of one call: a quarter of their ring */
constexpr std::uint64_t pairs_of_a_turn = 1000;

using Payload = std::array<std::uint64_t, 4>;

struct Record {
        std::uint64_t time, id;
        double price, size;
};

double since(Clock::time_point begin) { return Nanoseconds(Clock::now() - begin).count(); }

double ping(Bus &bus, std::uint64_t count) {
        Payload payload{};
        auto begin = Clock::now();

        for (std::uint64_t i = 0; i < count; i++) {
                bus.send(payload);
                payload = bus.recv().load<Payload>();
        }
        return since(begin);
}

double echo(Bus &bus, std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; i++)
                bus.send(bus.recv().load<Payload>());
        return -1;
}

double produce(Bus &bus, std::uint64_t count) {
        Payload payload{};

        for (std::uint64_t i = 0; i < count; i++)
                bus.send(payload);
        return -1;
}

double consume(Bus &bus, std::uint64_t count) {
        Payload payload = bus.recv().load<Payload>();
        auto begin = Clock::now();

        for (std::uint64_t i = 1; i < count; i++)
                payload = bus.recv().load<Payload>();
        return payload[0] == 0 ? since(begin) : -1;
}

double produce_records(Bus &bus, std::uint64_t count) {
        static const std::vector<Record> records(turn, Record{1, 1, 0.5, 1});

        for (std::uint64_t i = 0; i < count; i += turn)
                bus.send_records(records.data(), std::min(count - i, turn));
        return -1;
}

double consume_records(Bus &bus, std::uint64_t count) {
        Clock::time_point begin;
        double sum = 0;

        for (std::uint64_t i = 0; i < count;) {
                auto run = bus.recv_records<Record>(std::min(count - i, turn));

                if (i == 0)
                        begin = Clock::now();
                for (const Record &record : run)
                        sum += record.price;
                i += run.size();
        }
        if (sum != 0.5 * static_cast<double>(count))
                throw std::runtime_error("the prices do not add up");
        return since(begin);
}

/* Not inlined, these two: main() would leave them too few registers, the one more than the other. */
[[gnu::noinline]] double pairs(Bus &from, Bus &to, std::uint64_t count) {
        Payload payload{};
        auto begin = Clock::now();

        for (std::uint64_t i = 0; i < count; i++) {
                from.send(payload);
                if (to.try_recv_bytes(&payload, sizeof(payload)) != sizeof(payload))
                        throw std::runtime_error("it did not arrive");
        }
        return since(begin);
}

[[gnu::noinline]] double raw_pairs(Bus &from_bus, Bus &to_bus, std::uint64_t count) {
        tachyon_bus *from = from_bus.raw(), *to = to_bus.raw();
        Payload payload{};
        auto begin = Clock::now();

        for (std::uint64_t i = 0; i < count; i++)
                if (tachyon_bus_send(from, &payload, sizeof(payload), 0, -1) ||
                    tachyon_bus_recv_copy(to, &payload, sizeof(payload), nullptr, 0) != sizeof(payload))
                        throw std::runtime_error("the C functions fail");
        return since(begin);
}

void calls(Bus &a, Bus &b, std::uint64_t count) {
        Bus *from = &a, *to = &b;
        double binding = 0, raw = 0;

        for (std::uint64_t left = count, n; left > 0; left -= n) {
                n = std::min(left, pairs_of_a_turn);
                binding += pairs(*from, *to, n);
                raw += raw_pairs(*from, *to, n);
                std::swap(from, to);
        }
        std::cout << binding / static_cast<double>(count) << ' ' << raw / static_cast<double>(count) << std::endl;
}

void run_calls(const std::string &path) {
        std::future<Bus> listener = std::async(std::launch::async, [&] { return Bus::listen(path); });
        Bus a = Bus::connect(path), b = listener.get();

        std::cout << "ready" << std::endl;
        for (std::uint64_t count; std::cin >> count;)
                calls(a, b, count);
}

void run(Bus bus, double (*round)(Bus &, std::uint64_t)) {
        std::cout << "ready" << std::endl;
        for (std::uint64_t count; std::cin >> count;) {
                double elapsed_ns = round(bus, count);

                if (elapsed_ns < 0)
                        std::cout << "done" << std::endl;
                else
                        std::cout << std::fixed << elapsed_ns << std::endl;
        }
}

} // namespace

int main(int argc, char **argv) {
        if (argc != 3)
                return 2;
        std::string role = argv[1], path = argv[2];
        tachyon::Options large;

        large.capacity = 4 << 20;
        try {
                if (role == "ping")
                        run(Bus::connect(path), ping);
                else if (role == "echo")
                        run(Bus::listen(path), echo);
                else if (role == "produce")
                        run(Bus::connect(path), produce);
                else if (role == "consume")
                        run(Bus::listen(path), consume);
                else if (role == "records-produce")
                        run(Bus::connect(path), produce_records);
                else if (role == "records-consume")
                        run(Bus::listen(path, large), consume_records);
                else if (role == "calls")
                        run_calls(path);
                else
                        return 2;
        } catch (const std::exception &error) {
                std::cerr << error.what() << '\n';
                return 1;
        }
}
