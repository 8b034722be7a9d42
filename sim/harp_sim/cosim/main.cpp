// The device between two interfaces and a pseudo terminal.
//
//     device NETWORK HOST SERIAL
//
// NETWORK and HOST are interfaces of this network namespace; SERIAL becomes a link to the terminal
// that harpd opens. SIGUSR1 pulls the serial cable, SIGUSR2 plugs it in again. One line on stdout
// when it runs, and one for each round in which it fell behind the wall clock; errors are one line on stderr. Who sends through NETWORK or HOST makes whole
// checksums (ethtool -K … tx off); ICMPv6 and raw sockets do.
//
// Ref: packet(7), pty(7); docs/spec/offload.md §1, §7
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "Vdevice.h"

namespace {

using Octets = std::vector<uint8_t>;

constexpr size_t max_frame_octets = 9216;
constexpr size_t min_frame_octets = 60;     // without FCS: a veth carries shorter ones
constexpr int clocks_between_link_octets = 16;
constexpr int scan_clocks = 512;            // the monitor looks at every deadline
constexpr int most_clocks = 20'000;         // a round: then sockets are looked at again
constexpr int settle_clocks = 128;          // behind the last word or octet
constexpr int scan_us = 4000;               // so often it does: the rest is for what comes
constexpr size_t frames_a_round = 64;
constexpr uint64_t link_check_us = 10'000;
constexpr uint64_t late_us = 50'000;        // a round: longer ones are told

volatile sig_atomic_t ended = 0, pulled = 0, plugged = 0;

[[noreturn]] void fail(const std::string& what) {
    fprintf(stderr, "device: %s: %s\n", what.c_str(), strerror(errno));
    exit(1);
}

uint64_t clock_us(clockid_t which) {
    timespec now{};
    clock_gettime(which, &now);
    return uint64_t(now.tv_sec) * 1'000'000 + uint64_t(now.tv_nsec) / 1000;
}

uint64_t monotonic_us() { return clock_us(CLOCK_MONOTONIC); }

std::array<uint32_t, 256> crc_table() {
    std::array<uint32_t, 256> table{};
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t value = n;
        for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
        table[n] = value;
    }
    return table;
}

// Frame check sequence, IEEE 802.3 §3.2.9.
void append_fcs(Octets& frame) {
    static const auto table = crc_table();
    uint32_t crc = ~0u;
    for (uint8_t octet : frame) crc = crc >> 8 ^ table[(crc ^ octet) & 0xFF];
    crc = ~crc;
    for (int n = 0; n < 4; n++) frame.push_back(uint8_t(crc >> 8 * n));
}

// One interface: frames in with FCS, frames out without.
class Interface {
public:
    explicit Interface(const char* name) : name_(name) {
        fd_ = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));
        if (fd_ < 0) fail("packet socket (CAP_NET_RAW is needed)");
        sockaddr_ll at{};
        at.sll_family = AF_PACKET;
        at.sll_protocol = htons(ETH_P_ALL);
        at.sll_ifindex = int(if_nametoindex(name));
        if (!at.sll_ifindex) fail(std::string("interface ") + name);
        if (bind(fd_, reinterpret_cast<sockaddr*>(&at), sizeof at)) fail(name);
        packet_mreq all{at.sll_ifindex, PACKET_MR_PROMISC, 0, {}};
        setsockopt(fd_, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all);
        int yes = 1, room = 8 << 20;
        setsockopt(fd_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes);
        setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    }

    int fd() const { return fd_; }

    bool receive(Octets& frame) {
        frame.resize(max_frame_octets);
        ssize_t octets = recv(fd_, frame.data(), frame.size(), MSG_TRUNC);
        if (octets <= 0) return false;
        frame.resize(std::min(size_t(octets), max_frame_octets));
        if (frame.size() < min_frame_octets) frame.resize(min_frame_octets);
        append_fcs(frame);
        return true;
    }

    void send(const Octets& frame) {
        // An interface that is down or full loses the frame, as a wire does.
        if (::send(fd_, frame.data(), frame.size(), 0) < 0) lost_++;
    }

    bool up() const { return flags().ifr_flags & IFF_RUNNING; }

    // Down: the neighbour on this wire loses its carrier, as from a PHY without power.
    void enable(bool wanted) {
        ifreq now = flags();
        if (wanted == bool(now.ifr_flags & IFF_UP)) return;
        now.ifr_flags ^= IFF_UP;
        if (ioctl(fd_, SIOCSIFFLAGS, &now)) fail(std::string(name_) + " (CAP_NET_ADMIN is needed)");
    }

private:
    ifreq flags() const {
        ifreq asked{};
        strncpy(asked.ifr_name, name_, IFNAMSIZ - 1);
        if (ioctl(fd_, SIOCGIFFLAGS, &asked)) fail(std::string("interface ") + name_);
        return asked;
    }

    const char* name_;
    int fd_;
    uint64_t lost_ = 0;
};

// The serial cable: a pseudo terminal behind a link in the file system.
//
// In a thread of its own: poll and read of a terminal wait for a kernel thread of ordinary priority
// (tty_buffer_flush_work), and no frame may wait for that.
class Serial {
public:
    explicit Serial(std::string link) : link_(std::move(link)) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, line_)) fail("socket pair");
        if (pipe(control_)) fail("pipe");
        plug();
        // Now: who has SCHED_DEADLINE may start none.
        thread_ = std::thread([this] { run(); });
    }

    ~Serial() {
        order('.');
        thread_.join();
        pull();
    }

    int fd() const { return line_[0]; }

    // '-': the cable is pulled, '+': it is plugged in, '.': the end.
    void order(char what) {
        if (write(control_[1], &what, 1) != 1) fail("pipe");
    }

    void read_into(std::deque<uint8_t>& octets) {
        uint8_t some[4096];
        ssize_t count;
        while ((count = recv(line_[0], some, sizeof some, 0)) > 0)
            octets.insert(octets.end(), some, some + count);
    }

    void write_from(Octets& octets) {
        if (!octets.empty()) pass_on(line_[0], octets.data(), octets.size());
        octets.clear();
    }

private:
    // Nobody reads: the line does not wait for anybody either.
    static void pass_on(int to, const uint8_t* octets, size_t count) {
        if (write(to, octets, count) < 0) {}
    }

    void run() {
        uint8_t some[4096];
        for (;;) {
            pollfd waiting[] = {
                {master_, POLLIN, 0}, {line_[1], POLLIN, 0}, {control_[0], POLLIN, 0}};
            poll(waiting, 3, -1);
            ssize_t count;
            if (waiting[1].revents && (count = recv(line_[1], some, sizeof some, 0)) > 0)
                if (master_ >= 0) pass_on(master_, some, size_t(count));
            if (waiting[0].revents && (count = read(master_, some, sizeof some)) > 0)
                pass_on(line_[1], some, size_t(count));
            char what;
            if (!waiting[2].revents || read(control_[0], &what, 1) != 1) continue;
            if (what == '.') return;
            if (what == '-') pull();
            if (what == '+') plug();
        }
    }

    void plug() {
        if (master_ >= 0) return;
        termios raw{};
        cfmakeraw(&raw);
        char name[128];
        // Our end of the slave stays open: harpd may come and go without a hang-up.
        if (openpty(&master_, &slave_, name, &raw, nullptr)) fail("pseudo terminal");
        fcntl(master_, F_SETFL, O_NONBLOCK);
        std::string fresh = link_ + ".new";
        unlink(fresh.c_str());
        if (symlink(name, fresh.c_str()) || rename(fresh.c_str(), link_.c_str())) fail(link_);
    }

    void pull() {
        if (master_ < 0) return;
        unlink(link_.c_str());
        close(master_);
        close(slave_);
        master_ = slave_ = -1;
    }

    std::string link_;
    int master_ = -1, slave_ = -1;
    int line_[2], control_[2];
    std::thread thread_;
};

// Ports of the design for one side, by reference.
struct Side {
    Interface& interface;
    CData &in_valid, &in_octets, &in_first, &in_last;
    QData& in_data;
    CData &out_valid, &out_octets, &out_last, &out_append_fcs, &out_error;
    QData& out_data;
    std::deque<Octets> waiting{};
    size_t at = 0;
    Octets leaving{};

    bool busy() const { return !waiting.empty() || !leaving.empty(); }

    void feed() {
        in_valid = !waiting.empty();
        if (waiting.empty()) return;
        Octets& frame = waiting.front();
        size_t octets = std::min<size_t>(8, frame.size() - at);
        in_data = 0;
        memcpy(&in_data, frame.data() + at, octets);
        in_octets = CData(octets);
        in_first = at == 0;
        at += octets;
        in_last = at == frame.size();
        if (in_last) {
            waiting.pop_front();
            at = 0;
        }
    }

    void collect() {
        if (!out_valid) return;
        const auto* octets = reinterpret_cast<const uint8_t*>(&out_data);
        leaving.insert(leaving.end(), octets, octets + out_octets);
        if (!out_last) return;
        if (!out_append_fcs) leaving.resize(leaving.size() - std::min<size_t>(4, leaving.size()));
        if (!out_error) interface.send(leaving);
        leaving.clear();
    }
};

class Device {
public:
    Device(Interface& network, Interface& host, Serial& serial)
        : net_{network, v_.net_in_valid, v_.net_in_octets, v_.net_in_first, v_.net_in_last,
               v_.net_in_data, v_.net_out_valid, v_.net_out_octets, v_.net_out_last,
               v_.net_out_append_fcs, v_.net_out_error, v_.net_out_data},
          host_{host, v_.host_in_valid, v_.host_in_octets, v_.host_in_first, v_.host_in_last,
                v_.host_in_data, v_.host_out_valid, v_.host_out_octets, v_.host_out_last,
                v_.host_out_append_fcs, v_.host_out_error, v_.host_out_data},
          serial_(serial) {
        look_at_links();
        v_.rst = 1;
        for (int n = 0; n < 8; n++) clock();
        v_.rst = 0;
    }

    // Takes what waits outside, runs until all of it has gone through, gives the rest back. Returns
    // how many frames it took.
    size_t round() {
        uint64_t now = monotonic_us();
        if (now >= next_link_check_) {
            host_.interface.enable(v_.host_enable);
            look_at_links();
            next_link_check_ = now + link_check_us;
        }
        size_t frames = take(net_) + take(host_);
        serial_.read_into(link_in_);
        int quiet = 0, least = 0;
        if (now >= next_scan_) {
            least = scan_clocks;
            next_scan_ = now + scan_us;
        }
        for (int n = 0; n < most_clocks && (n < least || quiet < settle_clocks); n++) {
            if (n % 64 == 0) v_.now_us = monotonic_us();
            bool active = step();
            quiet = active ? 0 : quiet + 1;
        }
        serial_.write_from(link_out_);
        return frames;
    }

private:
    void look_at_links() {
        v_.net_up = net_.interface.up();
        v_.host_up = host_.interface.up();
    }

    static size_t take(Side& side) {
        Octets frame;
        size_t n = 0;
        for (; n < frames_a_round && side.interface.receive(frame); n++)
            side.waiting.push_back(frame);
        return n;
    }

    bool step() {
        net_.feed();
        host_.feed();
        v_.link_in_valid = !link_in_.empty() && pause_ == 0;
        if (pause_) pause_--;
        if (v_.link_in_valid) {
            v_.link_in = link_in_.front();
            link_in_.pop_front();
            pause_ = clocks_between_link_octets;
        }
        v_.eval();
        bool active = v_.net_in_valid || v_.host_in_valid || net_.busy() || host_.busy() ||
                      !link_in_.empty() || v_.link_out_valid || v_.net_out_valid ||
                      v_.host_out_valid;
        net_.collect();
        host_.collect();
        if (v_.link_out_valid) link_out_.push_back(v_.link_out);
        clock();
        return active;
    }

    void clock() {
        v_.clk = 1;
        v_.eval();
        v_.clk = 0;
        v_.eval();
    }

    Vdevice v_;
    Side net_, host_;
    Serial& serial_;
    std::deque<uint8_t> link_in_;
    Octets link_out_;
    int pause_ = 0;
    uint64_t next_link_check_ = 0, next_scan_ = 0;
};

}  // namespace

int main(int count, char** words) {
    if (count != 4) {
        fprintf(stderr, "usage: %s NETWORK HOST SERIAL\n", words[0]);
        return 2;
    }
    struct sigaction act{};
    act.sa_handler = [](int number) {
        (number == SIGUSR1 ? pulled : number == SIGUSR2 ? plugged : ended) = 1;
    };
    for (int number : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT}) sigaction(number, &act, nullptr);
    Interface network(words[1]), host(words[2]);
    Serial serial(words[3]);
    Device device(network, host, serial);
    printf("running\n");
    fflush(stdout);
    uint64_t before = monotonic_us(), used_before = clock_us(CLOCK_PROCESS_CPUTIME_ID);
    while (!ended) {
        if (pulled) {
            pulled = 0;
            serial.order('-');
        }
        if (plugged) {
            plugged = 0;
            serial.order('+');
        }
        pollfd waiting[] = {
            {network.fd(), POLLIN, 0}, {host.fd(), POLLIN, 0}, {serial.fd(), POLLIN, 0}};
        timespec pause{0, scan_us * 1000};
        ppoll(waiting, 3, &pause, nullptr);
        size_t frames = device.round();
        uint64_t now = monotonic_us(), used = clock_us(CLOCK_PROCESS_CPUTIME_ID);
        if (now - before > late_us) {
            printf("late: a round of %llu ms, %llu ms of them on a processor, %zu frames\n",
                   (unsigned long long)(now - before) / 1000,
                   (unsigned long long)(used - used_before) / 1000, frames);
            fflush(stdout);
        }
        before = now;
        used_before = used;
    }
    return 0;
}
