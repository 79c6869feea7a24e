/* SPDX-License-Identifier: MIT */
/* peer ROLE MODE PATH COUNT BLOCK: one side of the matrix, in C++. See run-matrix. */
#include "rule.h"
#include <iostream>
#include <tachyon.hpp>

using tachyon::Bus;

namespace {

const unsigned char *block;
std::uint64_t count;

void expect(bool good, const char *what, std::uint64_t number) {
        if (!good)
                throw std::runtime_error("message " + std::to_string(number) + ": " + what);
}

void send_stream(Bus &bus) {
        for (std::uint64_t i = 0; i < count; i++) {
                rule rule = rule_of(i);

                if (i % 2) {
                        bus.send_bytes(block + rule.start, rule.size, rule.type_id);
                } else {
                        tachyon::Slot slot = bus.reserve(rule.size);

                        std::memcpy(slot.data(), block + rule.start, rule.size);
                        slot.commit(rule.type_id);
                }
        }
}

void receive_stream(Bus &bus) {
        std::uint64_t i = 0;

        for (tachyon::Message &message : bus) {
                rule rule = rule_of(i);

                expect(message.size() == rule.size && message.type_id() == rule.type_id, "size and type", i);
                expect(std::memcmp(message.data(), block + rule.start, rule.size) == 0, "bytes", i);
                i++;
        }
        expect(i == count, "the end", i);
}

void send_records(Bus &bus) {
        std::vector<record> records;

        for (std::uint64_t i = 0; i < count; i++)
                records.push_back(record_of(i));
        expect(bus.send_records(records.data(), records.size(), RECORD_TYPE) == count, "records", 0);
}

void receive_records(Bus &bus) {
        for (std::uint64_t i = 0; i < count;)
                for (const record &got : bus.recv_records<record>(5000, RECORD_TYPE)) {
                        record wanted = record_of(i);

                        expect(std::memcmp(&got, &wanted, sizeof(wanted)) == 0, "record", i++);
                }
}

template <class T> void send_array(Bus &bus, const rule &rule) {
        auto array = bus.reserve_array<T>({rule.shape[0], rule.shape[1], rule.shape[2]});

        for (std::size_t j = 0; j < array.size(); j++)
                array[j] = static_cast<T>(element_of(&rule, j));
        array.commit();
}

void send_arrays(Bus &bus) {
        void (*const senders[])(Bus &, const rule &) = {send_array<float>, send_array<double>, send_array<std::int16_t>, send_array<std::uint8_t>};

        for (std::uint64_t i = 0; i < count; i++) {
                rule rule = rule_of(i);

                senders[rule.dtype](bus, rule);
        }
}

template <class T> void check_array(const tachyon::Message &message, const rule &rule, std::uint64_t i) {
        auto array = message.array<T>();

        expect(array.shape() == tachyon::Shape{rule.shape[0], rule.shape[1], rule.shape[2]}, "shape", i);
        for (std::size_t j = 0; j < array.size(); j++)
                expect(static_cast<int>(array[j]) == element_of(&rule, j), "element", i);
}

void receive_arrays(Bus &bus) {
        void (*const checks[])(const tachyon::Message &, const rule &, std::uint64_t) = {check_array<float>, check_array<double>, check_array<std::int16_t>, check_array<std::uint8_t>};

        for (std::uint64_t i = 0; i < count; i++) {
                rule rule = rule_of(i);

                checks[rule.dtype](bus.recv(), rule, i);
        }
}

void call(const std::string &path) {
        tachyon::Caller caller = tachyon::Caller::connect(path);

        for (std::uint64_t i = 0; i < count; i++) {
                rule rule = rule_of(i);
                std::uint32_t size = rule.size % 4096;

                try {
                        tachyon::Reply reply = caller.call_bytes(block + rule.start, size, is_failing(i) ? FAILING_TYPE : 1);

                        expect(!is_failing(i) && reply.size() == size, "reply", i);
                        for (std::uint32_t j = 0; j < size; j++)
                                expect(static_cast<unsigned char>(reply.data()[j]) == (block[rule.start + j] ^ 0x5a), "bytes", i);
                } catch (const tachyon::RpcError &error) {
                        expect(is_failing(i) && error.rpc_code() == FAILING_CODE && error.text() == FAILING_TEXT, "failure", i);
                }
        }
}

void serve(const std::string &path) {
        tachyon::Server server = tachyon::Server::listen(path);
        std::uint64_t i = 0;

        try {
                for (;; i++) {
                        tachyon::Request request = server.serve();

                        if (request.type_id() == FAILING_TYPE) {
                                request.fail(FAILING_CODE, FAILING_TEXT);
                                continue;
                        }
                        tachyon::ReplySlot reply = request.reserve_reply(request.size());

                        for (std::size_t j = 0; j < request.size(); j++)
                                reply.data()[j] = request.data()[j] ^ std::byte{0x5a};
                        reply.commit();
                }
        } catch (const tachyon::ClosedError &) {
                expect(i == count, "the end", i);
        }
}

void flow(Bus &bus, bool sends) {
        try {
                for (;;) {
                        if (sends)
                                bus.send_bytes(block, 1000);
                        else
                                bus.recv();
                }
        } catch (const tachyon::PeerDeadError &) {
        }
}

} // namespace

int main(int argc, char **argv) {
        if (argc != 6)
                return 2;
        std::string role = argv[1], mode = argv[2], path = argv[3];
        bool consumer = role == "consumer";

        count = std::strtoull(argv[4], nullptr, 10);
        block = read_block(argv[5]);
        try {
                if (mode == "rpc") {
                        consumer ? serve(path) : call(path);
                } else {
                        Bus bus = consumer ? Bus::listen(path) : Bus::connect(path);

                        if (mode == "stream")
                                consumer ? receive_stream(bus) : send_stream(bus);
                        else if (mode == "records")
                                consumer ? receive_records(bus) : send_records(bus);
                        else if (mode == "arrays")
                                consumer ? receive_arrays(bus) : send_arrays(bus);
                        else
                                flow(bus, !consumer);
                }
        } catch (const std::exception &error) {
                std::cerr << error.what() << '\n';
                return 1;
        }
        std::cout << "ok" << std::endl;
}
