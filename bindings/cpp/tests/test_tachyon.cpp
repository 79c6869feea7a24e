/* SPDX-License-Identifier: MIT */
/* The C++ face: ownership, exceptions, views; the C library underneath has tests of its own. */
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <future>
#include <pthread.h>
#include <sys/wait.h>
#include <tachyon.hpp>
#include <thread>
#include <unistd.h>

using namespace std::chrono_literals;
using tachyon::Bus;
using tachyon::Message;

namespace {

class Folder {
public:
        Folder() {
                char name[] = "/tmp/tachyon-cpp-XXXXXX";

                path_ = mkdtemp(name);
        }
        ~Folder() { rmdir(path_.c_str()); }
        std::string bus() const { return path_ + "/bus"; }

private:
        std::string path_;
};

/* Two ends in one process. */
struct Pair {
        explicit Pair(const tachyon::Options &options = {})
                : listening(std::async(std::launch::async, [&] { return Bus::listen(folder.bus(), options, 30s); })),
                  consumer(Bus::connect(folder.bus(), options, 30s)), producer(listening.get()) {}

        Folder folder;
        std::future<Bus> listening;
        Bus consumer, producer;
};

struct RpcPair {
        explicit RpcPair(const tachyon::Options &options = {})
                : listening(std::async(std::launch::async,
                                       [&] { return tachyon::Server::listen(folder.bus(), options, 30s); })),
                  caller(tachyon::Caller::connect(folder.bus(), options, 30s)), server(listening.get()) {}

        Folder folder;
        std::future<tachyon::Server> listening;
        tachyon::Caller caller;
        tachyon::Server server;
};

struct Tick {
        std::uint64_t time;
        double price;
};

tachyon::Options ring(std::uint64_t capacity) {
        tachyon::Options options;

        options.capacity = capacity;
        return options;
}

} // namespace

TEST_CASE("what is sent is received") {
        Pair pair;

        pair.producer.send("text", 1);
        pair.producer.send(Tick{7, 1.5}, 2);
        pair.producer.send_bytes(nullptr, 0, 3);

        Message message = pair.consumer.recv(30s);
        CHECK(message.text() == "text");
        CHECK(message.type_id() == 1);
        message = pair.consumer.recv(30s);
        CHECK(message.as<Tick>().time == 7);
        CHECK(message.load<Tick>().price == 1.5);
        CHECK_THROWS_AS(message.as<char>(), tachyon::FormatError);
        message = pair.consumer.recv(30s);
        CHECK(message.size() == 0);
        CHECK(message.type_id() == 3);
}

TEST_CASE("a message is copied into memory of one's own, if it fits there") {
        Pair pair;
        char buffer[8] = "old";
        std::uint32_t type_id = 0;

        CHECK_FALSE(pair.consumer.try_recv_bytes(buffer, sizeof(buffer)));
        CHECK_THROWS_AS(pair.consumer.recv_bytes(buffer, sizeof(buffer), nullptr, 1ms), tachyon::TimeoutError);
        pair.producer.send("nine bytes", 1);
        pair.producer.send("more", 2);
        CHECK_THROWS_AS(pair.consumer.recv_bytes(buffer, sizeof(buffer)), tachyon::MessageTooLargeError);
        CHECK_THROWS_AS(pair.consumer.try_recv_bytes(buffer, sizeof(buffer)), tachyon::MessageTooLargeError);
        CHECK(std::string_view(buffer) == "old");
        CHECK(pair.consumer.recv(30s).text() == "nine bytes");
        CHECK(pair.consumer.recv_bytes(buffer, sizeof(buffer), &type_id, 30s) == 4);
        CHECK(std::string_view(buffer, 4) == "more");
        CHECK(type_id == 2);
        pair.producer.send("", 3);
        CHECK(pair.consumer.try_recv_bytes(buffer, sizeof(buffer), &type_id) == 0u);
        CHECK(type_id == 3);
        CHECK(pair.consumer.stats().leases == 0);
        pair.producer.close();
        CHECK_THROWS_AS(pair.consumer.try_recv_bytes(buffer, sizeof(buffer)), tachyon::ClosedError);
}

TEST_CASE("a lease ends with its message, wherever that was moved to") {
        Pair pair;
        std::vector<Message> kept;

        for (int i = 0; i < 3; i++)
                pair.producer.send(i);
        for (int i = 0; i < 3; i++)
                kept.push_back(pair.consumer.recv(30s));
        CHECK(pair.consumer.stats().leases == 3);
        kept.erase(kept.begin() + 1);
        CHECK(pair.consumer.stats().leases == 2);
        Message moved = std::move(kept[0]);
        CHECK(kept[0].data() == nullptr);
        kept.clear();
        CHECK(pair.consumer.stats().leases == 1);
        CHECK(moved.as<int>() == 0);
        moved.release();
        moved.release();
        CHECK(pair.consumer.stats().leases == 0);
        CHECK(moved.data() == nullptr);
}

TEST_CASE("a message outlives its bus") {
        std::optional<Message> message;
        {
                Pair pair;

                pair.producer.send("still here");
                message = pair.consumer.recv(30s);
        }
        CHECK(message->text() == "still here");
}

TEST_CASE("iteration ends where the peer closed") {
        Pair pair;
        int sum = 0;

        for (int i = 1; i <= 4; i++)
                pair.producer.send(i);
        pair.producer.close();
        for (Message &message : pair.consumer)
                sum += message.as<int>();
        CHECK(sum == 10);
        CHECK_THROWS_AS(pair.consumer.recv(), tachyon::ClosedError);
        CHECK_THROWS_AS(pair.producer.send("x"), tachyon::CancelledError);
}

TEST_CASE("iteration gives a message back before it waits for the next") {
        Pair pair(ring(4096));
        auto sending = std::async(std::launch::async, [&] {
                for (int i = 0; i < 5; i++)
                        pair.producer.send(std::string(3000, 'x')); /* there is room for one */
                pair.producer.close();
        });
        std::size_t size = 0;

        for (Message &message : pair.consumer)
                size += message.size();
        CHECK(size == 15000);
        sending.get();
}

TEST_CASE("a peer that was killed is no orderly end") {
        Folder folder;
        pid_t child = fork();

        if (child == 0) {
                Bus bus = Bus::connect(folder.bus(), {}, 30s);

                bus.send("last words");
                raise(SIGKILL);
        }
        Bus bus = Bus::listen(folder.bus(), {}, 30s);
        std::string words;
        auto drain = [&] {
                for (Message &message : bus)
                        words = message.text();
        };

        CHECK_THROWS_AS(drain(), tachyon::PeerDeadError);
        CHECK(words == "last words");
        waitpid(child, nullptr, 0);
}

TEST_CASE("time-outs") {
        Pair pair(ring(4096));
        char page[1024] = {};

        CHECK_FALSE(pair.consumer.try_recv());
        CHECK_FALSE(pair.consumer.recv_for(1ms));
        CHECK_THROWS_AS(pair.consumer.recv(1ms), tachyon::TimeoutError);
        CHECK_THROWS_AS(pair.consumer.recv(tachyon::now), tachyon::TimeoutError);
        CHECK_FALSE(pair.consumer.wait_data(-5s));
        while (pair.producer.try_send_bytes(page, sizeof(page)))
                ;
        CHECK_THROWS_AS(pair.producer.send_bytes(page, sizeof(page), 0, 1ms), tachyon::TimeoutError);
        CHECK_THROWS_AS(pair.producer.send_bytes(page, 5000), tachyon::MessageTooLargeError);
        CHECK(tachyon::Timeout(std::chrono::hours::max()).ns() == -1);
        CHECK(tachyon::Timeout(1.5us).ns() == 1500);
}

TEST_CASE("slots are committed, or nothing is sent") {
        Pair pair;
        {
                tachyon::Slot slot = pair.producer.reserve(100);

                std::memcpy(slot.data(), "never", 5);
                CHECK_THROWS_AS(pair.producer.send("x"), tachyon::BusyError);
        }
        tachyon::Slot slot = pair.producer.reserve(100);
        CHECK_THROWS_AS(slot.commit_size(101), std::length_error);
        std::memcpy(slot.data(), "in place", 8);
        slot.commit_size(8, 5);
        CHECK_THROWS_AS(slot.commit(), std::length_error);
        Message message = pair.consumer.recv(30s);
        CHECK(message.text() == "in place");
        CHECK(message.type_id() == 5);
        CHECK_FALSE(pair.consumer.try_recv());
}

TEST_CASE("batches and records") {
        Pair pair;
        std::vector<Tick> ticks;

        for (std::uint64_t i = 0; i < 1000; i++)
                ticks.push_back({i, 0.5});
        CHECK(pair.producer.send_records(ticks.data(), ticks.size(), 9) == 1000);

        tachyon::Batch batch = pair.consumer.recv_batch(10, 30s);
        CHECK(batch.size() == 10);
        std::uint64_t next = 0;
        for (tachyon::MessageView message : batch)
                CHECK(message.as<Tick>().time == next++);
        CHECK(batch[3].type_id() == 9);
        CHECK_THROWS_AS(pair.consumer.recv_records<Tick>(8, 10, 30s), tachyon::FormatError);
        CHECK_THROWS_AS(pair.consumer.recv_records<int>(8, {}, 30s), tachyon::MessageTooLargeError);
        while (next < 1000) {
                tachyon::Records<Tick> run = pair.consumer.recv_records<Tick>(1 << 20, 9, 30s);

                CHECK(run[0].time == next);
                for (const Tick &tick : run)
                        REQUIRE(tick.time == next++);
        }
        batch.release();
        CHECK(pair.consumer.stats().leases == 0);
}

TEST_CASE("arrays describe themselves") {
        Pair pair;
        const float values[] = {0, 1, 2, 3, 4, 5};

        pair.producer.send_array(values, {2, 3}, 4);
        auto slot = pair.producer.reserve_array<std::int16_t>({2, 2});
        std::fill(slot.begin(), slot.end(), std::int16_t{7});
        slot(1, 1) = 8;
        slot.commit();
        pair.producer.send_array<double>(nullptr, {0, 3});

        Message message = pair.consumer.recv(30s);
        auto array = message.array<float>();
        CHECK(array.shape() == tachyon::Shape{2, 3});
        CHECK(array(1, 2) == 5);
        CHECK(reinterpret_cast<std::uintptr_t>(array.data()) % 64 == 0);
        CHECK_THROWS_AS(array(2, 0), std::out_of_range);
        CHECK_THROWS_AS(array(1), std::out_of_range);
        CHECK_THROWS_AS(message.array<std::int32_t>(), tachyon::FormatError);
        message = pair.consumer.recv(30s);
        CHECK(message.array<std::int16_t>()[3] == 8);
        message = pair.consumer.recv(30s);
        CHECK(message.array<double>().size() == 0);
        CHECK_THROWS_AS(pair.producer.reserve_array<double>(tachyon::Shape(65, 1)), std::length_error);
        CHECK_THROWS_AS(pair.producer.send_array<double>(nullptr, {3}), std::invalid_argument);
        pair.producer.send("no array at all, though long enough to be one, one might think; but no, it is none");
        CHECK_THROWS_AS(pair.consumer.recv(30s).array<float>(), tachyon::FormatError);
}

TEST_CASE("leases that fill the ring are an error") {
        Pair pair(ring(4096));
        std::vector<Message> kept;
        std::thread sender([&] {
                try {
                        for (;;)
                                pair.producer.send(std::string(1000, 'x'));
                } catch (const tachyon::Error &) {
                }
        });
        auto hoard = [&] {
                for (;;)
                        kept.push_back(pair.consumer.recv(30s));
        };

        CHECK_THROWS_AS(hoard(), tachyon::LeaseError);
        pair.consumer.close();
        sender.join();
}

TEST_CASE("waiting for several buses") {
        Pair one, two;

        CHECK(tachyon::wait({&one.consumer, &two.consumer}, 1ms).empty());
        two.producer.send("x");
        CHECK(tachyon::wait({&one.consumer, &two.consumer}, 30s) == std::vector<std::size_t>{1});
        CHECK_FALSE(two.consumer.arm());
        CHECK(one.consumer.arm());
        CHECK(one.consumer.descriptors().data >= 0);
}

TEST_CASE("a wait ends when another thread closes the bus") {
        Pair pair;
        std::thread closer([&] { pair.consumer.close(); });

        CHECK_THROWS_AS(pair.consumer.recv(30s), tachyon::CancelledError);
        closer.join();
}

TEST_CASE("calls") {
        RpcPair pair;
        std::thread serving([&] {
                pair.server.serve_forever({
                        {1, [](const tachyon::Request &request) { return "re: " + std::string(request.text()); }},
                        {2, [](const tachyon::Request &) -> std::string { throw std::runtime_error("no way"); }},
                        {3, [](const tachyon::Request &) { return std::string(2 << 20, 'x'); }},
                });
        });

        CHECK(pair.caller.call("hello", 1, 30s).text() == "re: hello");
        tachyon::PendingCall first = pair.caller.submit("a", 1), second = pair.caller.submit("b", 1);
        tachyon::Reply kept = second.wait(30s);
        CHECK(first.wait(30s).text() == "re: a");
        CHECK_THROWS_AS(first.wait(30s), tachyon::Error);
        try {
                pair.caller.call("", 2, 30s);
                FAIL("it must throw");
        } catch (const tachyon::RpcError &error) {
                CHECK(error.rpc_code() == TACHYON_RPC_EXCEPTION);
                CHECK(error.text() == "std::runtime_error: no way");
        }
        CHECK_THROWS_AS(pair.caller.call("", 3, 30s), tachyon::RpcError);
        CHECK_THROWS_AS(pair.caller.call("", 4, 30s), tachyon::RpcError);
        {
                tachyon::Caller gone = std::move(pair.caller);

                CHECK(gone.counters().failures == 3);
        }
        serving.join(); /* the caller is gone: closed */
        CHECK(kept.text() == "re: b");
}

TEST_CASE("a reply is copied into memory of one's own, and a request is written in place") {
        RpcPair pair;
        auto serving = std::async(std::launch::async, [&] {
                pair.server.serve_forever({
                        {1, [](const tachyon::Request &request) { return "re: " + std::string(request.text()); }},
                        {2, [](const tachyon::Request &) -> std::string { throw std::runtime_error("no way"); }},
                });
        });
        char buffer[8] = {};

        CHECK(pair.caller.call_into(buffer, sizeof(buffer), "text", 4, 1, 30s) == 8);
        CHECK(std::string_view(buffer, 8) == "re: text");
        CHECK_THROWS_AS(pair.caller.call_into(buffer, sizeof(buffer), "texts", 5, 1, 30s), tachyon::MessageTooLargeError);
        CHECK_THROWS_WITH_AS(pair.caller.call_into(buffer, sizeof(buffer), "", 0, 2, 30s), "the call failed: std::run",
                             tachyon::RpcError);
        CHECK_THROWS_AS(pair.caller.call_into(nullptr, 0, "", 0, 1, 30s), tachyon::MessageTooLargeError);
        { tachyon::RequestSlot cancelled = pair.caller.reserve(10); }
        tachyon::RequestSlot slot = pair.caller.reserve(100, 30s);
        CHECK_THROWS_AS(slot.commit_size(101, 1), std::length_error);
        CHECK_THROWS_AS(pair.caller.submit("x", 1), tachyon::BusyError);
        std::memcpy(slot.data(), "in place", 8);
        tachyon::PendingCall call = slot.commit_size(8, 1);
        CHECK(slot.data() == nullptr);
        CHECK_THROWS_AS(slot.commit(1), std::length_error);
        CHECK(call.wait(30s).text() == "re: in place");
        CHECK(pair.caller.counters().outstanding == 0);
        pair.caller.close();
        serving.get();
}

TEST_CASE("errors say what happened, once") {
        Pair pair;

        pair.producer.close();
        CHECK_THROWS_WITH_AS(pair.consumer.recv(), "receive: the peer has closed the bus", tachyon::ClosedError);
        CHECK_THROWS_WITH_AS(Bus::connect("/tmp/nobody-listens", {}, 1ms), "connect to /tmp/nobody-listens: timed out",
                             tachyon::TimeoutError);
}

TEST_CASE("whatever an endpoint throws, its caller is told") {
        RpcPair pair;
        auto serving = std::async(std::launch::async, [&] {
                pair.server.serve_forever({
                        {1, [](const tachyon::Request &) -> std::string { throw 42; }},
                        {2, [](const tachyon::Request &request) { return std::string(request.text()); }},
                });
        });

        CHECK_THROWS_WITH_AS(pair.caller.call("", 1, 30s), "the call failed: what was thrown is no std::exception",
                             tachyon::RpcError);
        CHECK(pair.caller.call("hello", 2, 30s).text() == "hello");
        pair.caller.close();
        serving.get();
}

TEST_CASE("a signal leaves no request unanswered") {
        tachyon::Options options;
        options.reply_capacity = 4096;
        RpcPair pair(options);
        std::vector<tachyon::PendingCall> calls;
        std::atomic<bool> over{false};
        std::atomic<int> asked{0};
        std::thread serving([&] {
                while (!over) {
                        try {
                                pair.server.serve_forever({{1, [&](const tachyon::Request &) {
                                                                    asked++;
                                                                    return std::string(1000, 'x');
                                                            }}});
                        } catch (const tachyon::InterruptedError &) { /* while it waited for a request */
                        }
                }
        });
        struct sigaction action{}, before;

        action.sa_handler = [](int) {};
        sigaction(SIGUSR1, &action, &before);
        for (int i = 0; i < 8; i++)
                calls.push_back(pair.caller.submit("", 1));
        while (asked < 4) /* there is no room for a fourth reply */
                std::this_thread::sleep_for(1ms);
        for (int i = 0; i < 20; i++) {
                pthread_kill(serving.native_handle(), SIGUSR1);
                std::this_thread::sleep_for(1ms);
        }
        for (tachyon::PendingCall &call : calls)
                CHECK(call.wait(30s).size() == 1000);
        over = true;
        pair.caller.close();
        serving.join();
        sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("a thread can be cancelled in an endpoint") {
        RpcPair pair;
        std::promise<void> inside;
        pthread_t thread;
        void *end = nullptr;
        std::function<void()> serve = [&] {
                pair.server.serve_forever({{1, [&](const tachyon::Request &) -> std::string {
                                                    inside.set_value();
                                                    for (;;)
                                                            pause();
                                            }}});
        };

        REQUIRE(pthread_create(&thread, nullptr, [](void *run) -> void * {
                        (*static_cast<std::function<void()> *>(run))();
                        return nullptr;
                }, &serve) == 0);
        tachyon::PendingCall call = pair.caller.submit("", 1);
        inside.get_future().wait();
        pthread_cancel(thread);
        pthread_join(thread, &end);
        CHECK(end == PTHREAD_CANCELED);
}

TEST_CASE("a call that dies is given up, and an end that is replaced is closed") {
        RpcPair pair, other;

        { tachyon::PendingCall given_up = pair.caller.submit("", 1); }
        CHECK(pair.caller.counters().outstanding == 0);
        tachyon::PendingCall call = pair.caller.submit("", 1);
        call = pair.caller.submit("", 1);
        CHECK(pair.caller.counters().outstanding == 1);
        pair.caller = std::move(other.caller); /* the call keeps the old bus, which is closed all the same */
        for (int i = 0; i < 3; i++)
                pair.server.serve(30s);
        CHECK_THROWS_AS(pair.server.serve(30s), tachyon::ClosedError);
}

TEST_CASE("a request that is gone cannot be answered, and none is looked at where it is not aligned") {
        struct alignas(16) Wide { double values[2]; };
        RpcPair pair;
        tachyon::PendingCall call = pair.caller.submit(std::string(sizeof(Wide), 'x'), 1);
        tachyon::Request request = pair.server.serve(30s);
        auto at = reinterpret_cast<std::uintptr_t>(request.data());

        if (at % alignof(Wide))
                CHECK_THROWS_AS(request.as<Wide>(), tachyon::FormatError);
        else
                CHECK(&request.as<Wide>() == static_cast<const void *>(request.data()));
        request.load<Wide>();
        request.release();
        CHECK_THROWS_AS(request.reply(""), tachyon::Error);
        CHECK_THROWS_AS(request.fail(1, ""), tachyon::Error);
        CHECK_THROWS_AS(request.reserve_reply(1), tachyon::Error);
}

TEST_CASE("requests are answered in any order, in place, or failed") {
        RpcPair pair;
        tachyon::PendingCall first = pair.caller.submit("1", 7), second = pair.caller.submit("2", 7),
                             third = pair.caller.submit("3", 7);
        tachyon::Request one = pair.server.serve(30s), two = pair.server.serve(30s), three = pair.server.serve(30s);

        three.fail(42, "not today");
        {
                tachyon::ReplySlot slot = two.reserve_reply(1000);

                std::memcpy(slot.data(), "two", 3);
                slot.commit_size(3);
        }
        { tachyon::ReplySlot cancelled = one.reserve_reply(10); }
        one.reply("one");
        CHECK_THROWS_AS(third.wait(30s), tachyon::RpcError);
        CHECK(first.wait(30s).text() == "one");
        CHECK(second.wait(30s).text() == "two");
        CHECK_THROWS_AS(pair.caller.call("late", 7, 1ms), tachyon::TimeoutError);
        pair.server.close();
        CHECK_THROWS_AS(pair.caller.call("x", 7, 30s), tachyon::ClosedError);
}

TEST_CASE("a stream end is refused by an rpc listener, with a reason") {
        Folder folder;
        auto server = std::async(std::launch::async, [&] {
                tachyon::Listener listener(folder.bus(), {}, TACHYON_KIND_RPC);

                CHECK_THROWS_AS(listener.accept(2s), tachyon::TimeoutError);
        });

        CHECK_THROWS_AS(Bus::connect(folder.bus(), {}, 30s), tachyon::ProtocolError);
        server.get();
}
