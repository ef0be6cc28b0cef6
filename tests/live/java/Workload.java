import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.zip.CRC32;
import org.apache.zookeeper.AsyncCallback;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/**
 * The official client, driven by a test: one command a line on standard input, one answer a line on standard
 * output, "ok ..." or "error ...". One process serves a whole test, for a JVM takes a second to start. Compiled
 * against each version under test; what older versions lack is reached by reflection.
 *
 *   connect NAME HOST:PORT      opens a session called NAME, with the superuser's rights
 *   close NAME                  ends it, and its ephemerals with it
 *   workload NAME CHILDREN [old] every kind of transaction; one node gets CHILDREN children; "old" leaves out
 *                               what a 3.4 server does not know
 *   churn NAME COUNT SEED       COUNT pipelined writes over 1,000 nodes
 *   flood NAME COUNT SEED       COUNT pipelined values of 900 KB
 *   create NAME PATH TEXT       a persistent node
 *   sequential NAME PATH TEXT   a persistent node with a number after its name
 *   ephemeral NAME PATH TEXT    a node that ends with the session
 *   own NAME PATH USER          an ACL that gives all to USER, by digest, and read to the world
 *   set NAME PATH TEXT          new data
 *   delete NAME PATH            one node
 *   reconfig NAME JOINING LEAVING NEW   incremental or whole, "-" for none
 *   dump NAME FILE              every node as this client sees it
 *   faithful NAME ADDRESSES WATCHED OWN  a client that watches a node and owns an ephemeral one, and does both anew
 *                               when its session has expired (see Faithful)
 *   state NAME                  how that one fared
 */
public final class Workload {
    private static final Map<String, ZooKeeper> SESSIONS = new HashMap<>();
    private static final Map<String, Faithful> FAITHFUL = new HashMap<>();
    private static final List<ACL> OPEN = ZooDefs.Ids.OPEN_ACL_UNSAFE;
    private static final int WINDOW = 500;

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            try {
                out.println("ok " + run(line.split(" ")));
            } catch (Exception e) {
                out.println("error " + e.toString().replace('\n', ' '));
            }
        }
        System.exit(0);
    }

    private static String run(String[] words) throws Exception {
        if (words[0].equals("connect")) {
            SESSIONS.put(words[1], connect(words[2]));
            return "0x" + Long.toHexString(SESSIONS.get(words[1]).getSessionId());
        }
        if (words[0].equals("faithful")) {
            FAITHFUL.put(words[1], new Faithful(words[2], words[3], words[4]));
            return "";
        }
        if (words[0].equals("state")) {
            return FAITHFUL.get(words[1]).state();
        }
        ZooKeeper zk = SESSIONS.get(words[1]);
        if (zk == null) {
            throw new IllegalArgumentException("no session " + words[1]);
        }
        switch (words[0]) {
            case "close":
                zk.close();
                SESSIONS.remove(words[1]);
                return "";
            case "workload":
                return workload(zk, Integer.parseInt(words[2]), words.length > 3);
            case "churn":
                return churn(zk, Integer.parseInt(words[2]), Long.parseLong(words[3]));
            case "flood":
                return flood(zk, Integer.parseInt(words[2]), Long.parseLong(words[3]));
            case "create":
                return zk.create(words[2], bytes(words[3]), OPEN, CreateMode.PERSISTENT);
            case "sequential":
                return zk.create(words[2], bytes(words[3]), OPEN, CreateMode.PERSISTENT_SEQUENTIAL);
            case "ephemeral":
                return zk.create(words[2], bytes(words[3]), OPEN, CreateMode.EPHEMERAL);
            case "own":
                return "" + zk.setACL(words[2], Arrays.asList(
                        new ACL(ZooDefs.Perms.ALL, new Id("digest", words[3] + ":2l6vTVyKxSJUQJP8T2EWfWPJ3TI=")),
                        new ACL(ZooDefs.Perms.READ, new Id("world", "anyone"))), -1).getAversion();
            case "set":
                return "" + zk.setData(words[2], bytes(words[3]), -1).getVersion();
            case "delete":
                zk.delete(words[2], -1);
                return "";
            case "reconfig":
                return reconfig(zk, words[2], words[3], words[4]);
            case "dump":
                return dump(zk, words[2]);
            default:
                throw new IllegalArgumentException("unknown command " + words[0]);
        }
    }

    private static ZooKeeper connect(String address) throws Exception {
        final CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper zk = new ZooKeeper(address, 60000, new Watcher() {
            @Override
            public void process(WatchedEvent event) {
                if (event.getState() == Event.KeeperState.SyncConnected) {
                    connected.countDown();
                }
            }
        });
        if (!connected.await(60, TimeUnit.SECONDS)) {
            zk.close();
            throw new IllegalStateException("no connection to " + address + " within a minute");
        }
        zk.addAuthInfo("digest", bytes("super:admin"));
        zk.addAuthInfo("digest", bytes("alice:secret"));
        return zk;
    }

    /** Every kind of node and transaction that this version has. */
    private static String workload(ZooKeeper zk, int children, boolean old) throws Exception {
        StringBuilder done = new StringBuilder();
        plainNodes(zk);
        unicode(zk);
        sequences(zk);
        accessControl(zk);
        transactions(zk);
        failures(zk);
        sessions(zk);
        quotas(zk);
        large(zk);
        many(zk, children);
        if (!old) {
            done.append(extended(zk));
        }
        return done.toString();
    }

    private static void plainNodes(ZooKeeper zk) throws Exception {
        make(zk, "/plain", "top");
        make(zk, "/plain/text", "one");
        zk.create("/plain/null", null, OPEN, CreateMode.PERSISTENT);
        zk.create("/plain/empty", new byte[0], OPEN, CreateMode.PERSISTENT);
        make(zk, "/plain/to-null", "x");
        zk.setData("/plain/to-null", null, -1);
        make(zk, "/plain/to-empty", "x");
        zk.setData("/plain/to-empty", new byte[0], -1);
        for (int i = 0; i < 25; i++) {
            zk.setData("/plain/text", bytes("value " + i), i);
        }
        make(zk, "/plain/again", "first life");
        zk.delete("/plain/again", -1);
        make(zk, "/plain/again", "second life");
        for (int i = 0; i < 10; i++) {
            make(zk, "/plain/short-lived-" + i, "");
        }
        for (int i = 0; i < 10; i += 2) {
            zk.delete("/plain/short-lived-" + i, 0);
        }
        String deep = "/plain";
        for (int i = 0; i < 40; i++) {
            deep += "/level" + i;
            make(zk, deep, "" + i);
        }
        // Names that sort otherwise by bytes than by path: '-' and '.' come before '/'.
        make(zk, "/plain-b", "");
        make(zk, "/plain.b", "");
        make(zk, "/plain/b", "");
        make(zk, "/plain/b-c", "");
        make(zk, "/plain/b/c", "");
    }

    private static void unicode(ZooKeeper zk) throws Exception {
        make(zk, "/\u00fcn\u00efc\u00f6d\u00e9", "latin");
        make(zk, "/\u00fcn\u00efc\u00f6d\u00e9/\u65e5\u672c\u8a9e", "\u65e5\u672c");
        make(zk, "/\u00fcn\u00efc\u00f6d\u00e9/with space", "");
        zk.setData("/\u00fcn\u00efc\u00f6d\u00e9/\u65e5\u672c\u8a9e", bytes("\u5909\u66f4"), -1);
        // U+1F600 is outside the basic plane: two surrogates in Java, six bytes in the files. Paths may not hold
        // such characters (PathUtils), ids of ACLs may.
        zk.create("/\u00fcn\u00efc\u00f6d\u00e9/owned", bytes("\ud83d\ude00"),
                Collections.singletonList(new ACL(ZooDefs.Perms.ALL, new Id("digest", "j\u00f6rg-\ud83d\ude00:hash"))),
                CreateMode.PERSISTENT);
    }

    private static void sequences(ZooKeeper zk) throws Exception {
        make(zk, "/queue", "");
        for (int i = 0; i < 30; i++) {
            String path = zk.create("/queue/item-", bytes("" + i), OPEN, CreateMode.PERSISTENT_SEQUENTIAL);
            if (i % 3 == 0) {
                zk.delete(path, -1);
            }
        }
        make(zk, "/queue-drained", "");
        for (int i = 0; i < 7; i++) {
            zk.delete(zk.create("/queue-drained/n", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL), -1);
        }
    }

    private static void accessControl(ZooKeeper zk) throws Exception {
        make(zk, "/acl", "");
        zk.create("/acl/creator", bytes("a"), ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        zk.create("/acl/read-only", bytes("b"), ZooDefs.Ids.READ_ACL_UNSAFE, CreateMode.PERSISTENT);
        List<ACL> mixed = Arrays.asList(
                new ACL(ZooDefs.Perms.ALL, new Id("digest", "bob:fakehash=")),
                new ACL(ZooDefs.Perms.READ, new Id("world", "anyone")),
                new ACL(ZooDefs.Perms.READ | ZooDefs.Perms.WRITE, new Id("ip", "10.1.2.3")));
        zk.create("/acl/mixed", bytes("c"), mixed, CreateMode.PERSISTENT);
        make(zk, "/acl/changed", "d");
        zk.setACL("/acl/changed", mixed, 0);
        zk.setACL("/acl/changed", ZooDefs.Ids.CREATOR_ALL_ACL, 1);
        for (int i = 0; i < 20; i++) {
            zk.create("/acl/own-" + i, null, Collections.singletonList(
                    new ACL(1 + i % 31, new Id("digest", "user" + i + ":hash"))), CreateMode.PERSISTENT);
        }
    }

    private static void transactions(ZooKeeper zk) throws Exception {
        make(zk, "/multi", "");
        zk.multi(Arrays.asList(
                Op.create("/multi/a", bytes("1"), OPEN, CreateMode.PERSISTENT),
                Op.create("/multi/a/b", null, OPEN, CreateMode.PERSISTENT),
                Op.setData("/multi/a", bytes("2"), 0),
                Op.check("/multi", 0),
                Op.create("/multi/gone", new byte[0], OPEN, CreateMode.PERSISTENT),
                Op.delete("/multi/gone", 0),
                Op.create("/multi/seq-", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL),
                Op.create("/multi/ephemeral", null, OPEN, CreateMode.EPHEMERAL)));
        try {
            zk.multi(Arrays.asList(
                    Op.create("/multi/never", bytes("x"), OPEN, CreateMode.PERSISTENT),
                    Op.check("/multi/a", 99),
                    Op.delete("/multi/a/b", -1)));
            throw new IllegalStateException("a multi with a failing check succeeded");
        } catch (KeeperException.BadVersionException expected) {
            // Logged as a transaction all the same.
        }
    }

    private static void failures(ZooKeeper zk) throws Exception {
        try {
            make(zk, "/plain", "");
            throw new IllegalStateException("created twice");
        } catch (KeeperException.NodeExistsException expected) {
            // An error record takes a zxid.
        }
        try {
            zk.setData("/plain", null, 1234);
            throw new IllegalStateException("set with a wrong version");
        } catch (KeeperException.BadVersionException expected) {
            // As above.
        }
        try {
            zk.delete("/plain", -1);
            throw new IllegalStateException("deleted with children");
        } catch (KeeperException.NotEmptyException expected) {
            // As above.
        }
    }

    private static void sessions(ZooKeeper zk) throws Exception {
        make(zk, "/live", "");
        for (int i = 0; i < 10; i++) {
            zk.create("/live/stays-" + i, bytes("" + i), OPEN, CreateMode.EPHEMERAL);
        }
        zk.create("/live/seq-", null, OPEN, CreateMode.EPHEMERAL_SEQUENTIAL);
        ZooKeeper other = connect(address(zk));
        for (int i = 0; i < 10; i++) {
            other.create("/live/goes-" + i, bytes("" + i), OPEN, CreateMode.EPHEMERAL);
        }
        other.delete("/live/goes-3", -1);
        other.close();
    }

    /** The server that this client is connected to. */
    private static String address(ZooKeeper zk) throws Exception {
        String text = zk.toString();
        int at = text.indexOf("remoteserver:");
        String rest = text.substring(at + "remoteserver:".length());
        String host = rest.substring(0, rest.indexOf(' '));
        return host.substring(host.lastIndexOf('/') + 1);
    }

    private static void quotas(ZooKeeper zk) throws Exception {
        make(zk, "/limited", "");
        make(zk, "/zookeeper/quota/limited", "");
        make(zk, "/zookeeper/quota/limited/zookeeper_limits", "count=1000,bytes=1000000");
        make(zk, "/zookeeper/quota/limited/zookeeper_stats", "count=1,bytes=0");
        make(zk, "/limited/a", "12345");
        make(zk, "/limited/b", "1234567890");
        zk.delete("/limited/a", -1);
    }

    private static void large(ZooKeeper zk) throws Exception {
        make(zk, "/large", "");
        Random random = new Random(7);
        for (int i = 0; i < 3; i++) {
            byte[] value = new byte[900 * 1024];
            random.nextBytes(value);
            zk.create("/large/v" + i, value, OPEN, CreateMode.PERSISTENT);
        }
        zk.setData("/large/v1", new byte[900 * 1024], -1);
    }

    private static void many(ZooKeeper zk, int children) throws Exception {
        make(zk, "/many", "");
        final Semaphore window = new Semaphore(WINDOW);
        final AtomicInteger failed = new AtomicInteger();
        for (int i = 0; i < children; i++) {
            window.acquire();
            zk.create("/many/c" + i, bytes("child " + i), OPEN, CreateMode.PERSISTENT,
                    new AsyncCallback.StringCallback() {
                        @Override
                        public void processResult(int rc, String path, Object ctx, String name) {
                            if (rc != 0) {
                                failed.incrementAndGet();
                            }
                            window.release();
                        }
                    }, null);
        }
        window.acquire(WINDOW);
        if (failed.get() != 0) {
            throw new IllegalStateException(failed + " of " + children + " creates failed");
        }
    }

    /** Containers, TTLs and creates that answer with a stat: what 3.4 lacks. */
    private static String extended(ZooKeeper zk) throws Exception {
        StringBuilder done = new StringBuilder();
        CreateMode container = CreateMode.valueOf("CONTAINER");
        zk.create("/container", bytes("c"), OPEN, container);
        make(zk, "/container/child", "");
        zk.create("/container-empty", null, OPEN, container);
        ZooKeeper.class
                .getMethod("create", String.class, byte[].class, List.class, CreateMode.class, Stat.class)
                .invoke(zk, "/create2", bytes("with stat"), OPEN, CreateMode.PERSISTENT, new Stat());
        zk.multi(Collections.singletonList(Op.create("/container/in-multi", null, OPEN, container)));
        zk.create("/container-idle", null, OPEN, container);
        make(zk, "/container-idle/child", "");
        zk.delete("/container-idle/child", -1);
        awaitGone(zk, "/container-idle");
        done.append("container ");
        try {
            java.lang.reflect.Method create = ZooKeeper.class.getMethod("create", String.class, byte[].class,
                    List.class, CreateMode.class, Stat.class, long.class);
            create.invoke(zk, "/ttl", bytes("t"), OPEN, CreateMode.valueOf("PERSISTENT_WITH_TTL"), new Stat(),
                    86_400_000L);
            create.invoke(zk, "/ttl-", bytes("t"), OPEN, CreateMode.valueOf("PERSISTENT_SEQUENTIAL_WITH_TTL"),
                    new Stat(), 3_600_000L);
            create.invoke(zk, "/ttl-short", null, OPEN, CreateMode.valueOf("PERSISTENT_WITH_TTL"), new Stat(), 1L);
            awaitGone(zk, "/ttl-short");
            done.append("ttl");
        } catch (java.lang.reflect.InvocationTargetException e) {
            if (!(e.getCause() instanceof KeeperException.UnimplementedException)) {
                throw e;
            }
        }
        return done.toString();
    }

    /** Waits until the server itself removes the node. */
    private static void awaitGone(ZooKeeper zk, String path) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (zk.exists(path, false) != null) {
            if (System.nanoTime() > end) {
                throw new IllegalStateException("the server left " + path + " where it is");
            }
            Thread.sleep(50);
        }
    }

    /** Writes that overlap each other, so that a server snapshots and logs under load. */
    private static String churn(ZooKeeper zk, int count, long seed) throws Exception {
        final Semaphore window = new Semaphore(WINDOW);
        final AtomicInteger done = new AtomicInteger();
        Random random = new Random(seed);
        if (zk.exists("/churn", false) == null) {
            make(zk, "/churn", "");
        }
        for (int i = 0; i < count; i++) {
            window.acquire();
            String path = "/churn/n" + random.nextInt(1000);
            switch (random.nextInt(8)) {
                case 0:
                    zk.delete(path, -1, new AsyncCallback.VoidCallback() {
                        @Override
                        public void processResult(int rc, String p, Object ctx) {
                            done.addAndGet(rc == 0 ? 1 : 0);
                            window.release();
                        }
                    }, null);
                    break;
                case 1:
                case 2:
                    zk.create(path, bytes("new " + i), i % 5 == 0 ? ownAcl(i) : OPEN, CreateMode.PERSISTENT,
                            new AsyncCallback.StringCallback() {
                                @Override
                                public void processResult(int rc, String p, Object ctx, String name) {
                                    done.addAndGet(rc == 0 ? 1 : 0);
                                    window.release();
                                }
                            }, null);
                    break;
                case 3:
                    zk.setACL(path, ownAcl(i), -1, new AsyncCallback.StatCallback() {
                        @Override
                        public void processResult(int rc, String p, Object ctx, Stat stat) {
                            done.addAndGet(rc == 0 ? 1 : 0);
                            window.release();
                        }
                    }, null);
                    break;
                default:
                    zk.setData(path, bytes("set " + i + " " + random.nextLong()), -1,
                            new AsyncCallback.StatCallback() {
                                @Override
                                public void processResult(int rc, String p, Object ctx, Stat stat) {
                                    done.addAndGet(rc == 0 ? 1 : 0);
                                    window.release();
                                }
                            }, null);
            }
        }
        window.acquire(WINDOW);
        return "" + done;
    }

    /** Values so large that a server writes one at nearly any moment. */
    private static String flood(ZooKeeper zk, int count, long seed) throws Exception {
        final Semaphore window = new Semaphore(8);
        final AtomicInteger done = new AtomicInteger();
        Random random = new Random(seed);
        byte[] value = new byte[900 * 1024];
        if (zk.exists("/flood", false) == null) {
            make(zk, "/flood", "");
        }
        for (int i = 0; i < count; i++) {
            window.acquire();
            random.nextBytes(value);
            zk.setData("/flood", value.clone(), -1, new AsyncCallback.StatCallback() {
                @Override
                public void processResult(int rc, String p, Object ctx, Stat stat) {
                    done.addAndGet(rc == 0 ? 1 : 0);
                    window.release();
                }
            }, null);
        }
        window.acquire(8);
        return "" + done;
    }

    private static List<ACL> ownAcl(int i) {
        return Collections.singletonList(new ACL(ZooDefs.Perms.ALL, new Id("digest", "churn" + i % 200 + ":h")));
    }

    private static String reconfig(ZooKeeper zk, String joining, String leaving, String members) throws Exception {
        Class<?> admin = Class.forName("org.apache.zookeeper.admin.ZooKeeperAdmin");
        Watcher none = new Watcher() {
            @Override
            public void process(WatchedEvent event) {
            }
        };
        Object client = admin.getConstructor(String.class, int.class, Watcher.class)
                .newInstance(address(zk), 60000, none);
        try {
            ((ZooKeeper) client).addAuthInfo("digest", bytes("super:admin"));
            byte[] config = (byte[]) admin.getMethod("reconfigure", String.class, String.class, String.class,
                    long.class, Stat.class).invoke(client, dash(joining), dash(leaving), dash(members), -1L, null);
            return new String(config, StandardCharsets.UTF_8).replace('\n', ' ');
        } finally {
            ((ZooKeeper) client).close();
        }
    }

    private static String dash(String word) {
        return word.equals("-") ? null : word;
    }

    /**
     * A line for each node, by path: path in hex, stat, ACL, data. Strings are as jute has them; data is "null",
     * or length and CRC-32.
     */
    private static String dump(ZooKeeper zk, String file) throws Exception {
        for (int attempt = 1; ; attempt++) {
            try {
                return dumpOnce(zk, file);
            } catch (IllegalStateException failed) {
                // A server under load was seen to answer a few reads with a marshalling error.
                if (attempt == 3) {
                    throw failed;
                }
                Thread.sleep(1000);
            }
        }
    }

    private static String dumpOnce(final ZooKeeper zk, String file) throws Exception {
        sync(zk);
        final Semaphore window = new Semaphore(WINDOW);
        final List<String> lines = Collections.synchronizedList(new ArrayList<String>());
        final List<String> problems = Collections.synchronizedList(new ArrayList<String>());
        ArrayDeque<String> todo = new ArrayDeque<>();
        todo.add("/");
        int nodes = 0;
        while (!todo.isEmpty()) {
            final String path = todo.poll();
            nodes++;
            List<String> children = childrenUnlessLeaf(zk, path);
            for (String child : children) {
                todo.add(path.equals("/") ? "/" + child : path + "/" + child);
            }
            window.acquire();
            zk.getData(path, false, new AsyncCallback.DataCallback() {
                @Override
                public void processResult(int rc, String p, Object ctx, final byte[] data, final Stat stat) {
                    if (rc != 0) {
                        problems.add(p + " getData " + rc);
                        window.release();
                        return;
                    }
                    zk.getACL(path, new Stat(), new AsyncCallback.ACLCallback() {
                        @Override
                        public void processResult(int rc2, String p2, Object ctx2, List<ACL> acl, Stat s) {
                            if (rc2 != 0) {
                                problems.add(p2 + " getACL " + rc2);
                            } else {
                                lines.add(line(path, data, stat, acl));
                            }
                            window.release();
                        }
                    }, null);
                }
            }, null);
        }
        window.acquire(WINDOW);
        if (!problems.isEmpty()) {
            throw new IllegalStateException(problems.size() + " reads failed: " + problems.get(0));
        }
        Collections.sort(lines);
        BufferedWriter out = new BufferedWriter(
                new OutputStreamWriter(new FileOutputStream(file), StandardCharsets.UTF_8));
        for (String line : lines) {
            out.write(line);
            out.write('\n');
        }
        out.close();
        return "" + nodes;
    }

    /** Children, without asking for those of the workload's thousands of leaves one at a time. */
    private static List<String> childrenUnlessLeaf(ZooKeeper zk, String path) throws Exception {
        if (path.startsWith("/many/") || path.startsWith("/churn/")) {
            return Collections.emptyList();
        }
        return zk.getChildren(path, false);
    }

    private static void sync(ZooKeeper zk) throws Exception {
        final CountDownLatch done = new CountDownLatch(1);
        zk.sync("/", new AsyncCallback.VoidCallback() {
            @Override
            public void processResult(int rc, String path, Object ctx) {
                done.countDown();
            }
        }, null);
        done.await();
    }

    private static String line(String path, byte[] data, Stat s, List<ACL> acl) {
        StringBuilder text = new StringBuilder(path.equals("/") ? "-" : hex(jute(path)));
        for (long value : new long[] {s.getCzxid(), s.getMzxid(), s.getPzxid(), s.getCtime(), s.getMtime()}) {
            text.append(' ').append(value);
        }
        text.append(' ').append(s.getVersion()).append(' ').append(s.getCversion());
        text.append(' ').append(s.getAversion()).append(' ').append(s.getEphemeralOwner());
        text.append(' ').append(s.getNumChildren()).append(' ');
        if (data == null) {
            text.append("null");
        } else {
            CRC32 crc = new CRC32();
            crc.update(data);
            text.append(data.length).append(':').append(crc.getValue());
        }
        text.append(' ');
        for (int i = 0; i < acl.size(); i++) {
            Id id = acl.get(i).getId();
            text.append(i == 0 ? "" : ",").append(acl.get(i).getPerms()).append(':');
            text.append(hex(jute(id.getScheme()))).append(':').append(hex(jute(id.getId())));
        }
        return text.toString();
    }

    /** A string as jute writes it: each UTF-16 unit on its own, surrogates in three bytes. */
    private static byte[] jute(String text) {
        java.io.ByteArrayOutputStream out = new java.io.ByteArrayOutputStream();
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c < 0x80) {
                out.write(c);
            } else if (c < 0x800) {
                out.write(0xc0 | c >> 6);
                out.write(0x80 | c & 0x3f);
            } else {
                out.write(0xe0 | c >> 12);
                out.write(0x80 | c >> 6 & 0x3f);
                out.write(0x80 | c & 0x3f);
            }
        }
        return out.toByteArray();
    }

    private static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder(bytes.length * 2);
        for (byte b : bytes) {
            text.append(Character.forDigit(b >> 4 & 15, 16)).append(Character.forDigit(b & 15, 16));
        }
        return text.toString();
    }

    private static void make(ZooKeeper zk, String path, String text) throws Exception {
        zk.create(path, bytes(text), OPEN, CreateMode.PERSISTENT);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
