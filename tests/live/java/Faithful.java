import java.nio.charset.StandardCharsets;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/**
 * A client as applications are: it watches one node and owns an ephemeral one, and when its session has expired it opens
 * another and does both anew. Everything is done on the client's event thread, as the events come.
 */
final class Faithful implements Watcher {
    private final String address;
    private final String watched;
    private final String own;
    private ZooKeeper zk;
    private long registeredBy;
    private int expired;
    private int registered;
    private int fired;
    private String problem = "none";

    Faithful(String address, String watched, String own) throws Exception {
        this.address = address;
        this.watched = watched;
        this.own = own;
        open();
    }

    private synchronized void open() throws Exception {
        zk = new ZooKeeper(address, 60000, this);
    }

    @Override
    public synchronized void process(WatchedEvent event) {
        try {
            if (event.getType() != Event.EventType.None) {
                fired++;
                zk.exists(watched, true);
            } else if (event.getState() == Event.KeeperState.Expired) {
                expired++;
                zk.close();
                open();
            } else if (event.getState() == Event.KeeperState.SyncConnected && zk.getSessionId() != registeredBy) {
                register();
            }
        } catch (KeeperException.ConnectionLossException e) {
            // The next connection says that it is there.
        } catch (Exception e) {
            problem = e.toString().replace(' ', '_');
        }
    }

    private void register() throws Exception {
        zk.exists(watched, true);
        try {
            zk.create(own, "own".getBytes(StandardCharsets.UTF_8), ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        } catch (KeeperException.NodeExistsException e) {
            // The answer to an earlier attempt may have been lost.
            Stat stat = zk.exists(own, false);
            if (stat == null || stat.getEphemeralOwner() != zk.getSessionId()) {
                throw e;
            }
        }
        registeredBy = zk.getSessionId();
        registered++;
    }

    synchronized String state() {
        return "expired=" + expired + " registered=" + registered + " fired=" + fired + " problem=" + problem
                + " session=0x" + Long.toHexString(registeredBy);
    }
}
